"""Prepares a model for training: frozen parts, and tokens that are never sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, is_peft_model

from vantage.errors import ConfigError
from vantage.training.towers import freeze_vision_tower
from vantage.training.trl import sharding
from vantage.training.trl.config import VantageConfig
from vantage.training.trl.exactness import check_head

MEDIA_TOKENS = (
    "image_token_id",
    "video_token_id",
    "audio_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
    "boi_token_id",
    "eoi_token_id",
    "image_start_token_id",
    "image_end_token_id",
    "video_start_token_id",
    "video_end_token_id",
    "visual_indicator_token_ids",
)


def media_ids(config: Any) -> list[int]:
    """Ids of placeholder tokens of images, videos and audio in a model's configuration."""
    named = (getattr(config, name, None) for name in MEDIA_TOKENS)
    values = (value for one in named for value in (one if isinstance(one, list) else [one]))
    return sorted({value for value in values if isinstance(value, int)})


def banned(token_ids: Sequence[int], own: Mapping[str, Any] | None) -> dict[str, list[int]]:
    """Options of `generate` that suppress tokens, in addition to those that the user suppresses."""
    ids = {*((own or {}).get("suppress_tokens") or []), *token_ids}
    return {"suppress_tokens": sorted(ids)} if token_ids else {}


def prepare(
    model: torch.nn.Module, accelerator: Accelerator, args: VantageConfig, tokenizer: Any
) -> None:
    """Freeze the vision tower if asked to, and check that the model can be trained.

    Args:
        model: The bare model.
        accelerator: Accelerator that will prepare it.
        args: Options of the run.
        tokenizer: Tokenizer of the model.

    Raises:
        ConfigError: The model has no trainable parameter, apart from TRL's copy of an adapter.
        EngineError: TRL's log-probs do not match the model's logits.
    """
    if args.freeze_vision_tower:
        freeze_vision_tower(model)
    _check_trainable(model)
    if accelerator.distributed_type == DistributedType.FSDP:
        sharding.gather_head(model)
    elif accelerator.distributed_type != DistributedType.DEEPSPEED:
        with accelerator.autocast():
            check_head(model, tokenizer, args.temperature)


def _check_trainable(model: torch.nn.Module) -> None:
    if any(p.requires_grad for name, p in model.named_parameters() if ".ref." not in name):
        return
    remedy = "set requires_grad of the parameters to train, or leave freeze_vision_tower out"
    if is_peft_model(model) or getattr(model, "_hf_peft_config_loaded", False):
        remedy = (
            "load the adapter with PeftModel.from_pretrained(..., is_trainable=True), or pass its "
            "base model together with peft_config (model.lora)"
        )
    raise ConfigError(
        f"model: no parameter of {type(model).__name__} is trainable, so no update would change "
        f"it: {remedy}"
    )
