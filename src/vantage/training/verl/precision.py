"""Precision of weights in veRL's words. Pure: nothing of veRL is imported."""

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

# veRL's names of dtypes.
DTYPES = {
    **dict.fromkeys(("fp32", "32", "float32"), "float32"),
    **dict.fromkeys(("bf16", "bfloat16"), "bfloat16"),
    **dict.fromkeys(("fp16", "16", "float16"), "float16"),
}


def weights(config: Config) -> dict[str, Any]:
    """Options of `fsdp_config`: weights in float32, or in bfloat16 with compensated sums."""
    return {"model_dtype": "bf16"} if config.optimizer.weights == "bfloat16" else {}


def optimizer(config: Config) -> dict[str, Any]:
    """Options of `optim`."""
    given = config.optimizer
    made: dict[str, Any] = {
        "lr": given.learning_rate,
        "weight_decay": given.weight_decay,
        "clip_grad": given.max_grad_norm,
        "lr_scheduler_type": given.schedule,
    }
    if given.weights == "float32":
        return made
    module, _, name = COMPENSATED.partition(".")
    return made | {
        "optimizer_impl": module,
        "optimizer": name,
        "betas": list(COMPENSATED_BETAS),
        "override_optimizer_config": {"kahan_sum": True, "eps": EPSILON},
    }


def chosen(fsdp: Mapping[str, Any]) -> Precision:
    """What weights are kept in and forwards compute in.

    Args:
        fsdp: veRL's options of FSDP, those under `verl` included.

    Raises:
        ConfigError: a dtype that veRL does not know.
    """
    weights = _dtype("model_dtype", fsdp.get("model_dtype") or "fp32")
    mixed = fsdp.get("mixed_precision") or {}
    if not isinstance(mixed, Mapping):
        _dtype("mixed_precision", mixed)
    forward = _dtype("mixed_precision.param_dtype", mixed.get("param_dtype") or "bf16")
    return Precision(forward, weights, weights)


def _dtype(option: str, given: Any) -> str:
    if str(given) not in DTYPES:
        where = f"verl.actor_rollout_ref.actor.fsdp_config.{option}"
        raise ConfigError(f"{where}: no dtype {str(given)!r}; {nearest(str(given), DTYPES)}")
    return DTYPES[str(given)]


def steps(actor: Mapping[str, Any]) -> Steps:
    """How the optimizer moves a weight.

    Args:
        actor: veRL's options of the actor, those under `verl` included.
    """
    optim = actor["optim"]
    return steps_of(
        f"{optim['optimizer_impl']}.{optim['optimizer']}",
        optim["lr"],
        options=optim.get("override_optimizer_config"),
        clip=optim["clip_grad"] or 0.0,
    )
