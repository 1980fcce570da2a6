"""Where a model comes from, as `from_pretrained` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoProcessor

from vantage import files
from vantage.training.trl.config import VantageConfig

# Of `model_init_kwargs`, what says where to find files and not how to load weights.
PLACES = ("revision", "trust_remote_code", "cache_dir", "token", "local_files_only", "proxies")


def source(args: VantageConfig) -> dict[str, Any]:
    """Options with which the processor of a model is loaded from where its weights are.

    Args:
        args: of the run; `model_init_kwargs` are those of the weights.
    """
    given = args.model_init_kwargs or {}
    named = {name: given[name] for name in PLACES if name in given}
    return {"trust_remote_code": args.trust_remote_code, **named}


def with_processor(model: Any, given: Mapping[str, Any], args: VantageConfig) -> tuple[Any, dict]:
    """A model as a trainer takes it, and other arguments of the trainer with its processor.

    Args:
        model: a directory, a name on the hub, or a model.
        given: the other arguments.
        args: of the run.
    """
    if not isinstance(model, str):
        return model, dict(given)
    place, rest = files.home(model), dict(given)
    if rest.get("processing_class") is None:
        sides = {"truncation_side": "left", "padding_side": "left"}
        rest["processing_class"] = AutoProcessor.from_pretrained(place, **sides, **source(args))
    return place, rest


def config_source(args: VantageConfig) -> dict[str, Any]:
    """The same for its configuration, which stands beside the weights."""
    given = args.model_init_kwargs or {}
    beside = {name: given[name] for name in ("subfolder",) if name in given}
    return source(args) | beside
