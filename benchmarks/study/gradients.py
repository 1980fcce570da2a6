"""Compare the gradient of one rollout batch with the gradient of expected accuracy.

The policy is fixed. For each arm, the gradient of a batch, over all of its updates, is compared
with that of expected accuracy, which is estimated from many other batches.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback

from study import measures, running
from study.arms import ARMS, Arm
from study.running import Job
from study.tasks import prepared
from vantage import config as configuration
from vantage.training.trl import run as training

BATCHES = 16  # per arm
REFERENCE = 100  # batches of the reference gradient
SEED, REFERENCE_SEED = 200, 201
LARGEST = 20  # largest ratio shown; beyond it, the divisor is a gradient without a direction
STANDING_STILL = 1e-30  # learning rate too small to change any weight
COMPARED = (
    "grpo",
    "grpo, n = 4",
    "2-grpo",
    "pts alone",
    "shuffle-r1",
    "share-grpo",
    "share-shuffle",
    "share-shuffle, n = 2",
)
REWARD_ALONE = Arm("dr-grpo")  # its gradient of the expected reward is unbiased up to scale


class Gradients(TrainerCallback):
    """Store the gradient of every rollout batch, summed over its updates."""

    def __init__(self):
        self.batch_D: list[np.ndarray] = []
        self.asked = 0.0

    def on_pre_optimizer_step(self, args, state, control, **rest):
        """Add the gradient of an update."""
        parts = [p.grad.reshape(-1) for p in self.trainer.model.parameters() if p.grad is not None]
        gradient_D = torch.cat(parts).numpy().astype(np.float64)
        if state.global_step % args.updates_per_rollout_batch == 0:
            self.batch_D.append(gradient_D)
        else:
            self.batch_D[-1] += gradient_D

    def on_log(self, args, state, control, logs=None, **rest):
        """Count the questions asked."""
        self.asked += (logs or {}).get("questions/asked", 0)


def of_arm(
    job: Job, arm: Arm, model: Path, folder: Path, batches: int, seed: int = SEED
) -> tuple[np.ndarray, float]:
    """Gradients of an arm at a model [batches, parameters], and rollouts generated per batch."""
    values = configuration.as_values(running.settings(job, arm, folder))
    values["model"]["path"] = str(model)
    values["run"] |= {"batches": batches, "save_every": batches, "seed": seed}
    values["optimizer"] |= {"learning_rate": STANDING_STILL, "max_grad_norm": 0.0}
    config = configuration.parse(values)
    shutil.rmtree(config.run.output, ignore_errors=True)
    torch.set_num_threads(1)
    kept = Gradients()
    training.train(config, callbacks=[kept])
    shutil.rmtree(config.run.output)
    rollouts = kept.asked * arm.prompts * arm.rollouts / batches
    return np.stack(kept.batch_D), rollouts


def cosine(one_D: np.ndarray, other_D: np.ndarray) -> float:
    """Cosine of the angle between two vectors."""
    return float(one_D @ other_D / (np.linalg.norm(one_D) * np.linalg.norm(other_D)))


def reliability(batch_BD: np.ndarray) -> float:
    """Cosine of the batch mean with its limit, estimated from two halves (Spearman-Brown)."""
    halves = cosine(batch_BD[::2].mean(axis=0), batch_BD[1::2].mean(axis=0))
    return float(np.sqrt(2 * halves / (1 + halves)))


def worth(cosine_B: np.ndarray, rollouts: float) -> float:
    """Squared signal-to-noise ratio of a gradient per rollout.

    It is proportional to the number of rollouts that a plain policy gradient would need for the
    same cosine.
    """
    share = max(float(np.mean(cosine_B)), 1e-3) ** 2  # a bootstrap sample may have no signal
    return share / (1 - share) / rollouts


def compare(task: str, folder: Path) -> None:
    """Write one row per arm and batch, for the cold start and for a half-trained GRPO model."""
    target = folder / "gradients" / f"{task}.parquet"
    if target.exists():
        return
    start = prepared(task, SEED, folder).model
    rows = []
    for point, model in (("start", start), ("half-way", _half_way(task, folder))):
        reference_BD, _ = of_arm(
            _job(task, "reference"), REWARD_ALONE, model, folder, REFERENCE, REFERENCE_SEED
        )
        reference_D, limit = reference_BD.mean(axis=0), reliability(reference_BD)
        for name in COMPARED:
            batch_BD, rollouts = of_arm(_job(task, name), ARMS[name], model, folder, BATCHES)
            rows += [
                {
                    "task": task,
                    "point": point,
                    "arm": name,
                    "batch": batch,
                    "cosine": cosine(gradient_D, reference_D) / limit,
                    "reliability": limit,
                    "rollouts": rollouts,
                }
                for batch, gradient_D in enumerate(batch_BD)
            ]
    target.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(target)


def _job(task: str, arm: str) -> Job:
    return Job("gradients", task, arm, SEED, STANDING_STILL)


def _half_way(task: str, folder: Path) -> Path:
    """The model after half of the batches of GRPO."""
    job = replace(_job(task, "half-way"), learning_rate=6e-5)
    target = folder / f"{task}-{SEED}" / "half-way"
    if not target.exists():
        values = configuration.as_values(running.settings(job, Arm("grpo"), folder))
        half = running.BATCHES // 2
        values["run"] |= {"batches": half, "save_every": half}
        config = configuration.parse(values)
        shutil.rmtree(config.run.output, ignore_errors=True)
        training.train(config)
        (Path(config.run.output) / "model").rename(target)
        shutil.rmtree(config.run.output)
    return target


def rows(results: pd.DataFrame, task: str, points: tuple[str, ...]) -> list[list[str]]:
    """Table cells of every arm: cosine with its standard error, and worth of a rollout."""
    cells = []
    for arm in COMPARED:
        cells.append([arm])
        for point in points:
            there = results[(results["task"] == task) & (results["point"] == point)]
            mine, base = (there[there["arm"] == name] for name in (arm, "grpo"))
            error = mine["cosine"].std(ddof=1) / np.sqrt(len(mine))
            cells[-1].append(f"{mine['cosine'].mean():.3f} ± {error:.3f}")
            cells[-1].append(_ratio(mine, base))
    return cells


def _ratio(mine: pd.DataFrame, base: pd.DataFrame) -> str:
    """Worth of a rollout relative to the base, with a bootstrap over batches."""
    (mine_B, each), (base_B, base_each) = (
        (rows["cosine"].to_numpy(), float(rows["rollouts"].iloc[0])) for rows in (mine, base)
    )
    value, low, high = measures.bootstrap(
        lambda drawn: worth(mine_B[drawn], each) / worth(base_B[drawn], base_each), len(mine_B)
    )
    texts = [f"{part:.2f}" if part < LARGEST else f"> {LARGEST}" for part in (value, low, high)]
    return "{} ({} to {})".format(*texts)
