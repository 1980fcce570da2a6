"""Loading of saved models with their processors: vision-language or text, with or without LoRA."""

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
    """A loaded model.

    Attributes:
        path: Directory, or name on the hub.
        model, processor: Model and processor of transformers; a tokenizer for a text model.
        identity: Identity of the weights, from `identity`.
    """

    path: str
    model: Any
    processor: Any
    identity: str

    @property
    def sees(self) -> bool:
        """Whether the model accepts images."""
        return sees(self.model.config)


def sees(config: Any) -> bool:
    """Return whether a model with this configuration accepts images."""
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def load(path: str) -> Loaded:
    """Load a model from a directory or by its name on the hub.

    A directory of LoRA adapters also loads the base model, and the base model's processor if the
    directory has none. Code in a directory is not run, and nothing that it names is downloaded.

    Raises:
        ConfigError: If the model cannot be loaded.
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
    """Keep only the special tokens of a generation configuration; `Sampling` sets the rest.

    Raises:
        ConfigError: If a value is not a token id.
    """
    known = {name: getattr(given, name, None) for name in TOKENS}
    for name, value in known.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and (not isinstance(one, int) or not 0 <= one < 2**31):
                raise ConfigError(f"generation_config.json: {name}={value!r}: expected token ids")
    return GenerationConfig(**known)


def _processor(path: str, base: str, sees: bool) -> Any:
    kind, options = AutoProcessor if sees else AutoTokenizer, {"trust_remote_code": False}
    try:
        processor = kind.from_pretrained(path, padding_side="left", **options)
    except (OSError, ValueError):  # a directory of adapters often has no processor
        processor = kind.from_pretrained(base, padding_side="left", **options)
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def identity(path: str) -> str:
    """Return the identity of weights: the hub name, or a digest of names, sizes and times of files.

    The content of large files would take minutes to read.
    """
    folder = Path(path)
    if not folder.is_dir():
        return path
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return digest([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])
