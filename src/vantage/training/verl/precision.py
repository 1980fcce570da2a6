"""Precision of weights in veRL's words. Pure: nothing of veRL is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vantage.config import Config
from vantage.training.precision import (
    COMPENSATED,
    COMPENSATED_BETAS,
    EPSILON,
    Verdict,
    expected,
    judge,
    steps_of,
)

# veRL's short names of dtypes.
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


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


def check_steps(actor: Mapping[str, Any], spread: float | None) -> Verdict:
    """Whether the optimizer's steps can move weights of the precision that they are kept in.

    Args:
        actor: veRL's options of the actor, those under `verl` included.
        spread: standard deviation of the model's matrices, where its configuration says it.
    """
    optim, kept = actor["optim"], actor["fsdp_config"].get("model_dtype") or "fp32"
    steps = steps_of(
        f"{optim['optimizer_impl']}.{optim['optimizer']}",
        optim["lr"],
        options=optim.get("override_optimizer_config"),
        clip=optim["clip_grad"] or 0.0,
    )
    return judge(expected(DTYPES.get(kept, str(kept)), spread), steps)
