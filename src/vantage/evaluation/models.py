"""A saved model with its processor: vision-language or text alone, with adapters or without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
)

from vantage import files, model_files
from vantage.chat.journal import digest
from vantage.errors import ConfigError, reading
from vantage.rewards.opening import opened_by

TOKENS = (
    *("bos_token_id", "eos_token_id", "decoder_start_token_id"),
    *("suppress_tokens", "begin_suppress_tokens"),
)


@dataclass(frozen=True)
class Loaded:
    """A model that generates.

    Attributes:
        path: directory, or name on the hub.
        model, processor: of transformers; a tokenizer for a model of text alone.
        identity: of its weights; a name on the hub, or the files of a directory.
    """

    path: str
    model: Any
    processor: Any
    identity: str

    @property
    def sees(self) -> bool:
        """Whether it takes pictures."""
        return sees(self.model.config)


def sees(config: Any) -> bool:
    """Whether a model of that configuration takes pictures."""
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def load(path: str) -> Loaded:
    """A model by its directory or its name on the hub.

    A directory of LoRA adapters brings the model along that they were trained on; a missing
    processor is taken from there too. No code of a directory is run, and nothing that it names
    is fetched.

    Raises:
        ConfigError: it cannot be loaded.
    """
    path = files.home(path)
    model_files.check_model_files(path)
    has_adapters = (Path(path) / model_files.ADAPTERS).is_file()
    base = model_files.base_of(Path(path)) if has_adapters else path
    with (
        reading(f"model {path!r} cannot be loaded", model_files.reason),
        model_files.alone(path),
    ):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        processor = _processor(path, base, sees(config))
        model_files.check_template(path, lambda: opened_by(processor))
        kind = AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM
        model = kind.from_pretrained(path, dtype="auto", device_map="auto", trust_remote_code=False)
        model.generation_config = _plain(model.generation_config)
    return Loaded(path, model, processor, identity(path))


def _plain(given: GenerationConfig | None) -> GenerationConfig:
    """Sampling as an evaluation says it; of what a model asks for, the tokens alone.

    Raises:
        ConfigError: something else than tokens.
    """
    known = {name: getattr(given, name, None) for name in TOKENS}
    for name, value in known.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and (not isinstance(one, int) or not 0 <= one < 2**31):
                raise ConfigError(f"generation_config.json: {name}={value!r}: expected tokens")
    return GenerationConfig(**known)


def _processor(path: str, base: str, sees: bool) -> Any:
    kind, options = AutoProcessor if sees else AutoTokenizer, {"trust_remote_code": False}
    try:
        processor = kind.from_pretrained(path, padding_side="left", **options)
    except (OSError, ValueError):
        processor = kind.from_pretrained(base, padding_side="left", **options)
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def identity(path: str) -> str:
    """What tells the weights of a path from others: its files with their sizes and times."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return digest([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])
