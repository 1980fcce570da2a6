"""Run one training of the study and store its results."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from transformers import TrainerCallback

from study.arms import ROLLOUTS, Arm
from study.tasks import prepared
from vantage import config as configuration
from vantage.config import Config
from vantage.training.trl import run as training

BATCHES = 50
EVALUATED_EVERY = 10  # batches
LATE = 0.7  # share of the budget after which validations count
LOGGED = {
    "seconds_generate": "seconds/generate",
    "seconds_reward": "seconds/reward",
    "seconds_plan": "seconds/plan",
    "seconds_log_probs": "seconds/log_probs",
    "seconds_update": "seconds/update",
    "seconds": "seconds/rollout_batch",
    "asked": "questions/asked",
    "samples": "plan/samples",
    "distinct": "plan/distinct_samples",
    "silent_rollouts": "plan/silent_rollouts",
    "silent_samples": "plan/silent_samples",
    "all_right": "plan/all_correct",
    "all_wrong": "plan/all_incorrect",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "clipped": "clip_ratio/region_mean",
    "reward": "rewards/accuracy/mean",
}


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        stage: Its purpose: "tuning", "choice" (both on the validation split) or "test".
        task, arm: Names of task and arm.
        seed: Seed of the data, the cold start and the run.
        learning_rate: Constant learning rate of AdamW.
    """

    stage: str
    task: str
    arm: str
    seed: int
    learning_rate: float

    @property
    def split(self) -> str:
        """The split for evaluation."""
        return "test" if self.stage == "test" else "validation"

    @property
    def name(self) -> str:
        """Name of its files."""
        arm = "".join(c if c.isalnum() or c == "." else "-" for c in self.arm)
        return f"{self.stage}_{self.task}_{arm}_{self.learning_rate:g}_{self.seed}"


def train(job: Job, arm: Arm, folder: Path) -> None:
    """Run a job and write its results, one row per rollout batch, unless they exist."""
    target = folder / "results" / f"{job.name}.parquet"
    if target.exists():
        return
    torch.set_num_threads(1)  # for such a small model, threads only wait for each other
    config = settings(job, arm, folder)
    shutil.rmtree(config.run.output, ignore_errors=True)
    watch = Evaluation(job, folder)
    trainer = training.train(config, callbacks=[watch])
    updates = trainer.args.updates_per_rollout_batch
    table = results(job, config, trainer.state.log_history, updates, watch.accuracy)
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(target.with_suffix(".part"))
    target.with_suffix(".part").rename(target)
    shutil.rmtree(config.run.output)


def late_accuracy(folder: Path, job: Job) -> float:
    """Late accuracy of a completed job."""
    return late(pd.read_parquet(folder / "results" / f"{job.name}.parquet"))


def late(rows: pd.DataFrame) -> float:
    """Mean of the last two accuracies after the start, since a single one is noisy."""
    trained = rows.loc[rows["batch"] > 0, "accuracy"].dropna()
    return float(trained.iloc[-2:].mean())


def found(folder: Path, **wanted: Any) -> list[Job]:
    """Completed jobs with the given stage, task, arm, ..."""
    names = [field.name for field in fields(Job)]
    files = sorted((folder / "results").glob("*.parquet"))
    heads = [pq.ParquetFile(file).read(names).slice(0, 1).to_pylist()[0] for file in files]
    return [Job(**head) for head in heads if wanted.items() <= head.items()]


def settings(job: Job, arm: Arm, folder: Path) -> Config:
    """The configuration of a job."""
    made = prepared(job.task, job.seed, folder)
    return configuration.parse(
        {
            "model": {"path": str(made.model), "dtype": "float32"},
            "data": {
                "train": str(made.file("reinforcement")),
                "template": "{question}",
                "columns": {"question": "question", "image": "image"},
                "sampling": arm.sampling,
            },
            "run": {
                "output": str(folder / "runs" / job.name),
                "seed": job.seed,
                "batches": BATCHES,
                "save_every": BATCHES,
                "record": {"rollouts": 0},
            },
            "recipe": arm.recipe,
            "variants": arm.variants,
            "batch": {
                "questions": arm.questions,
                "rollouts": arm.rollouts,
                "updates": arm.updates,
                "micro_batch": 64,
            },
            "generation": {"max_tokens": made.task.tokens},
            "optimizer": {"learning_rate": job.learning_rate, "weight_decay": 0.0},
            "trl": {"use_cpu": True, "gradient_checkpointing": False, "bf16": False, **arm.trl},
        }
    )


class Evaluation(TrainerCallback):
    """Evaluate every few batches, and stop when all rollouts of the budget are generated.

    On the validation split, only the last evaluations count, so only they are run. Recipes that
    refill their batches generate more rollouts per batch, and so stop earlier.
    """

    def __init__(self, job: Job, folder: Path):
        self.task = prepared(job.task, job.seed, folder)
        self.rows = self.task.rows(job.split)
        self.budget, self.generated = BATCHES * ROLLOUTS, 0
        self.first = LATE * self.budget if job.split == "validation" else 0
        self.accuracy = {0: self.task.before(job.split)}

    def on_log(self, args, state, control, logs=None, **rest):
        """Count generated rollouts; evaluate at the end of a rollout batch."""
        logs = logs or {}
        group = self.trainer.session.prompts.variants.prompts * args.num_generations
        self.generated += int(logs.get("questions/asked", 0)) * group
        batch, part = divmod(state.global_step, args.updates_per_rollout_batch)
        if part or "seconds/rollout_batch" not in logs:
            return
        done = self.generated >= self.budget
        if done or (batch % EVALUATED_EVERY == 0 and self.generated >= self.first):
            processor = self.trainer.processing_class
            self.accuracy[batch] = self.task.accuracy(self.trainer.model, processor, self.rows)
        control.should_training_stop |= done


def results(
    job: Job,
    config: Config,
    history: list[dict[str, Any]],
    updates: int,
    accuracy: dict[int, float],
) -> pd.DataFrame:
    """Make a table with one row per rollout batch, and a first row for the start.

    Rows hold the logged metrics as means over the `updates` of a batch, and cumulative rollouts
    and updates.
    """
    by_batch: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry in history:
        for name, logged in LOGGED.items():
            if logged in entry:
                by_batch[-(-entry["step"] // updates)][name].append(entry[logged])
    rows = [{"batch": 0}] + [
        {"batch": batch, **{name: sum(v) / len(v) for name, v in values.items()}}
        for batch, values in sorted(by_batch.items())
        if batch
    ]
    table = pd.DataFrame(rows, columns=["batch", *LOGGED])
    each = config.variants.prompts * config.batch.rollouts
    table["rollouts"] = (table["asked"].fillna(0) * each).cumsum()
    table["updates"] = table["batch"] * updates
    table["accuracy"] = table["batch"].map(accuracy)
    for name, value in asdict(job).items():
        table[name] = value
    table["settings"] = json.dumps(configuration.as_values(config), sort_keys=True)
    return table
