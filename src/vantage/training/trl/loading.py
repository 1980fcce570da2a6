"""Options of `from_pretrained` for a model's processor and configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoProcessor

from vantage import files
from vantage.training.trl.config import VantageConfig

# Options in `model_init_kwargs` that locate files, rather than configure the weights.
PLACES = ("revision", "trust_remote_code", "cache_dir", "token", "local_files_only", "proxies")


def source(args: VantageConfig, places: Sequence[str] = PLACES) -> dict[str, Any]:
    """Options for loading a model's processor from the same place as its weights."""
    given = args.model_init_kwargs or {}
    named = {name: given[name] for name in places if name in given}
    return {"trust_remote_code": args.trust_remote_code, **named}


def with_processor(model: Any, given: Mapping[str, Any], args: VantageConfig) -> tuple[Any, dict]:
    """Load the processor of a model unless given, and expand ~ in the model's path.

    Args:
        model: A directory, a name on the hub, or a model.
        given: Other arguments of the trainer.
        args: Options of the run.

    Returns:
        The model, and the arguments with `processing_class`.
    """
    if not isinstance(model, str):
        return model, dict(given)
    place, rest = files.home(model), dict(given)
    if rest.get("processing_class") is None:
        sides = {"truncation_side": "left", "padding_side": "left"}
        rest["processing_class"] = AutoProcessor.from_pretrained(place, **sides, **source(args))
    return place, rest


def config_source(args: VantageConfig) -> dict[str, Any]:
    """Options for loading a model's configuration, which lies beside its weights."""
    return source(args, (*PLACES, "subfolder"))
