"""What a run would do, in a few lines; whichever the engine."""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path

from vantage.config import Config, Model
from vantage.methods.recipe import parse_recipe


def outline(config: Config, batches: int, resume: bool) -> dict[str, str]:
    """What would run, by name.

    Args:
        config: of the run.
        batches: rollout batches of an epoch.
        resume: whether it goes on from its last checkpoint, where there is one.
    """
    batch, run = config.batch, config.run
    updates = batch.updates or parse_recipe(config.recipe).loss.updates or 1
    updates *= int(config.trl.get("num_iterations", 1)) if config.engine == "trl" else 1
    rollouts = batch.questions * config.variants.count * batch.rollouts
    length = run.batches or math.ceil(batches * (run.epochs or 1))
    begun = Path(run.output).exists()
    return {
        "engine": f"{config.engine} {metadata.version(config.engine)}",
        "model": f"{config.model.path}, {_trained(config.model)}",
        "data": f"{config.data.train}, {batches:,} rollout batches an epoch",
        "recipe": str(config.recipe),
        "rewards": ", ".join(f"{weight:g} {name}" for name, weight in config.rewards.items()),
        "rollout batch": (
            f"{batch.questions:,} questions x {config.variants.count} prompts x "
            f"{batch.rollouts} rollouts = {rollouts:,} rollouts, {updates} updates"
        ),
        "length": f"{length:,} rollout batches, {length * updates:,} updates",
        "output": f"{run.output}, {'goes on' if resume and begun else 'from the start'}",
    }


def _trained(model: Model) -> str:
    what = f"adapters of rank {model.lora.r}" if model.lora else "all weights"
    return what + (" but those of the vision tower" if model.freeze_vision_tower else "")
