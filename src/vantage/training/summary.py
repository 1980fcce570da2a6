"""Summary of a run before it starts."""

from __future__ import annotations

import math
from importlib import metadata

from vantage.training.directory import newest
from vantage.training.resolved import Resolved, RunSettings


def summary(run: Resolved, batches: int, *, resume: bool) -> dict[str, str]:
    """Summarize what a run would do.

    Args:
        run: The resolved configuration.
        batches: Rollout batches per epoch.
        resume: Whether the run resumes from its last checkpoint, if there is one.

    Returns:
        Label -> text.
    """
    settings, shape = run.settings, run.shape
    length = settings.batches or math.ceil(batches * (settings.epochs or 1))
    checkpoint = newest(settings.output) if resume else None
    begins = f"resumed from {checkpoint}" if checkpoint else "from the start"
    return {
        "engine": f"{settings.engine} {_version(settings.engine)}",
        "model": f"{settings.model}, {_trained(settings)}",
        "data": f"{settings.train.path}, {batches:,} rollout batches per epoch",
        "recipe": str(settings.recipe),
        "rewards": ", ".join(f"{weight:g} {name}" for name, weight in settings.rewards.items()),
        "rollout batch": str(shape),
        "length": f"{length:,} rollout batches, {length * shape.steps:,} updates",
        "output": f"{settings.output}, {begins}",
    }


def _version(engine: str) -> str:
    try:
        return metadata.version(engine)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _trained(settings: RunSettings) -> str:
    what = f"adapters of rank {settings.lora.r}" if settings.lora else "all weights"
    return what + (" except those of the vision tower" if settings.freezes_vision else "")
