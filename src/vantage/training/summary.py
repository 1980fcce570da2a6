"""What a run would do, in a few lines; whichever the engine."""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path

from vantage.config import Config, Model
from vantage.training.directory import newest
from vantage.training.shape import Shape


def summary(config: Config, shape: Shape, batches: int, resume: bool) -> dict[str, str]:
    """What would run, by name.

    Args:
        config: of the run.
        shape: of a rollout batch.
        batches: rollout batches of an epoch.
        resume: whether it goes on from its last checkpoint, where there is one.
    """
    run = config.run
    length = run.batches or math.ceil(batches * (run.epochs or 1))
    begun = newest(Path(run.output)) if resume else None
    return {
        "engine": f"{config.engine} {_version(config.engine)}",
        "model": f"{config.model.path}, {_trained(config.model)}",
        "data": f"{config.data.train}, {batches:,} rollout batches an epoch",
        "recipe": str(config.recipe),
        "rewards": ", ".join(f"{weight:g} {name}" for name, weight in config.rewards.items()),
        "rollout batch": str(shape),
        "length": f"{length:,} rollout batches, {length * shape.steps:,} updates",
        "output": f"{run.output}, {f'resumed from {begun}' if begun else 'from the start'}",
    }


def _version(engine: str) -> str:
    try:
        return metadata.version(engine)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _trained(model: Model) -> str:
    what = f"adapters of rank {model.lora.r}" if model.lora else "all weights"
    return what + (" but those of the vision tower" if model.freeze_vision_tower else "")
