"""Summary of a run before it starts."""

from __future__ import annotations

import math
from pathlib import Path

from vantage.config import Model
from vantage.training.directory import newest
from vantage.training.resolved import Resolved
from vantage.training.versions import version_of


def summary(run: Resolved, batches: int, *, resume: bool) -> dict[str, str]:
    """Summarize what a run would do.

    Args:
        run: The resolved configuration.
        batches: Rollout batches per epoch.
        resume: Whether the run resumes from its last checkpoint, if there is one.

    Returns:
        Label -> text.
    """
    config, shape = run.config, run.shape
    length = config.run.batches or math.ceil(batches * (config.run.epochs or 1))
    checkpoint = newest(Path(config.run.output)) if resume else None
    begins = f"resumed from {checkpoint}" if checkpoint else "from the start"
    return {
        "engine": f"{config.engine} {version_of(config.engine) or '(not installed)'}",
        "model": f"{config.model.path}, {_trained(config.model)}",
        "data": f"{run.train.path}, {batches:,} rollout batches per epoch",
        "recipe": str(config.recipe),
        "rewards": ", ".join(f"{weight:g} {name}" for name, weight in config.rewards.items()),
        "rollout batch": str(shape),
        "length": f"{length:,} rollout batches, {length * shape.steps:,} updates",
        "output": f"{config.run.output}, {begins}",
    }


def _trained(model: Model) -> str:
    what = f"adapters of rank {model.lora.r}" if model.lora else "all weights"
    return what + (" except those of the vision tower" if model.freeze_vision_tower else "")
