"""Precision of weights and forwards as veRL's options. Pure: imports nothing of veRL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vantage.config import Config
from vantage.errors import ConfigError, nearest
from vantage.training.precision import (
    COMPENSATED,
    COMPENSATED_BETAS,
    EPSILON,
    Precision,
    Steps,
    steps_of,
)

# veRL's names of dtypes -> torch's.
DTYPES = {
    **dict.fromkeys(("fp32", "32", "float32"), "float32"),
    **dict.fromkeys(("bf16", "bfloat16"), "bfloat16"),
    **dict.fromkeys(("fp16", "16", "float16"), "float16"),
}


def weights(config: Config) -> dict[str, Any]:
    """Options of `fsdp_config` for the precision of weights; veRL's default is float32."""
    return {"model_dtype": "bf16"} if config.optimizer.weights == "bfloat16" else {}


def optimizer(config: Config) -> dict[str, Any]:
    """Options of `optim`: with compensated sums for bfloat16 weights."""
    section = config.optimizer
    options: dict[str, Any] = {
        "lr": section.learning_rate,
        "weight_decay": section.weight_decay,
        "clip_grad": section.max_grad_norm,
        "lr_scheduler_type": section.schedule,
    }
    if section.weights == "float32":
        return options
    module, _, name = COMPENSATED.partition(".")
    return options | {
        "optimizer_impl": module,
        "optimizer": name,
        "betas": list(COMPENSATED_BETAS),
        "override_optimizer_config": {"kahan_sum": True, "eps": EPSILON},
    }


def chosen(fsdp: Mapping[str, Any]) -> Precision:
    """Precision of weights and forwards that veRL's options choose.

    Args:
        fsdp: veRL's `fsdp_config`, including options under `verl`.

    Raises:
        ConfigError: veRL does not support a dtype.
    """
    weights = _dtype("model_dtype", fsdp.get("model_dtype") or "fp32")
    mixed = fsdp.get("mixed_precision") or {}
    if not isinstance(mixed, Mapping):
        _dtype("mixed_precision", mixed)
    forward = _dtype("mixed_precision.param_dtype", mixed.get("param_dtype") or "bf16")
    return Precision(forward, weights, weights)


def _dtype(option: str, value: Any) -> str:
    name = str(value)
    if name not in DTYPES:
        where = f"verl.actor_rollout_ref.actor.fsdp_config.{option}"
        hint = nearest(name, DTYPES)
        raise ConfigError(f"{where}: veRL does not support dtype {name!r}; {hint}")
    return DTYPES[name]


def steps(actor: Mapping[str, Any]) -> Steps:
    """Step sizes of the optimizer.

    Args:
        actor: veRL's options of the actor, including options under `verl`.
    """
    optim = actor["optim"]
    return steps_of(
        f"{optim['optimizer_impl']}.{optim['optimizer']}",
        optim["lr"],
        options=optim.get("override_optimizer_config"),
        clip=optim["clip_grad"] or 0.0,
    )
