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
)

from vantage.chat.journal import digest
from vantage.errors import ConfigError, reading
from vantage.questions.chat_templates import check_bounded

ADAPTERS = "adapter_config.json"


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
    processor is taken from there too.

    Raises:
        ConfigError: it cannot be loaded.
    """
    with reading(f"model {path!r} cannot be loaded"):
        base = _base(path)
        config = AutoConfig.from_pretrained(base)
        kind = AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM
        model = kind.from_pretrained(path, dtype="auto", device_map="auto")
        _check_ids(model.generation_config)
        processor = _processor(path, base, sees(config))
        check_bounded(processor, f"model {path!r}")
        return Loaded(path, model, processor, identity(path))


def _check_ids(generation: Any) -> None:
    """Refuse ids of tokens that are no numbers, with which generation ends late."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(generation, name, None)
        ids = value if isinstance(value, list) else [value]
        if not all(one is None or type(one) is int for one in ids):
            raise ConfigError(f"{name}={value!r} in its generation_config.json: expected a number")


def _base(path: str) -> str:
    if not (Path(path) / ADAPTERS).is_file():
        return path
    from peft import PeftConfig

    return str(PeftConfig.from_pretrained(path).base_model_name_or_path)


def _processor(path: str, base: str, sees: bool) -> Any:
    kind = AutoProcessor if sees else AutoTokenizer
    try:
        processor = kind.from_pretrained(path, padding_side="left")
    except (OSError, ValueError):
        processor = kind.from_pretrained(base, padding_side="left")
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
