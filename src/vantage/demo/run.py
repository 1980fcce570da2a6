"""The demo: trains recipes at equal generated rollouts, and reports their held-out accuracy."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback

from vantage import config as configuration
from vantage import files
from vantage.config import Config
from vantage.demo import digits
from vantage.demo.cold_start import cold_start
from vantage.demo.outcomes import BINS, Outcome, draw
from vantage.evaluation.generation import answer, right_answers
from vantage.evaluation.pass_at_k import Estimate, pass_at_k
from vantage.methods import recipe
from vantage.methods.advantages import group_advantage
from vantage.record import Record
from vantage.report import page
from vantage.rewards import accuracy
from vantage.terminal import Console
from vantage.training.trl import run as training

QUESTIONS = {"reinforcement": 2_000, "validation": 320, "test": 1_500}
HEADINGS = (
    "recipe",
    "before",
    "after",
    "silent\nrollouts",
    "silent\nsamples",
    "distinct\nsamples",
    "\nseconds",
)


def demo(recipes: list[str], output: Path, *, seed: int = 0) -> list[Outcome]:
    """Train the tiny model under each recipe and compare the results.

    Writes `summary.json`, `learning.png` and `report.html`.

    Args:
        recipes: Names of recipes.
        output: Directory for the runs; existing runs of these recipes are replaced.
        seed: Seed of the data, the cold start and the runs.

    Raises:
        ConfigError: If a recipe is unknown.
    """
    for name in recipes:
        recipe(name)
    torch.set_num_threads(1)  # the model is too small to gain from threads
    console = Console()
    console.print("Cold start: fine-tuning on a few annotated images, for the format and reading.")
    start = output / "start"
    shutil.copytree(cold_start(_cache(), seed=seed), start, dirs_exist_ok=True)
    test = _write_data(output / "data", seed)["test"]
    before = _accuracy(start, test)
    console.print(f"held-out accuracy before: {_text(before)} on {len(test)} questions")
    outcomes = [_run(name, start, output, test, before, seed) for name in recipes]
    _report(outcomes, output, console)
    return outcomes


def settings(name: str, model: Path, output: Path, seed: int) -> Config:
    """Return the configuration of one recipe's run; all runs generate as many rollouts."""
    shares = recipe(name).shares
    variants = {"prompts": 2, "rewrites": "new_questions", "transforms": {}}
    return configuration.parse(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "data": {
                "train": str(output / "data" / "reinforcement.parquet"),
                "validation": str(output / "data" / "validation.parquet"),
                "template": "{question}",
                "columns": {"question": "question", "image": "image"},
            },
            "run": {
                "output": str(output / name),
                "seed": seed,
                "batches": 100,
                "validate_every": 10,
                "save_every": 10,
            },
            "recipe": name,
            "variants": variants if shares else {},
            "batch": {
                "questions": 16,
                "rollouts": 8 if shares else 16,
                "updates": 4,
                "micro_batch": 64,
            },
            "generation": {"max_tokens": 12},
            "optimizer": {"learning_rate": 1.0e-4, "weight_decay": 0.0},
            "trl": {"use_cpu": True, "gradient_checkpointing": False, "bf16": False},
        }
    )


def _run(
    name: str, start: Path, output: Path, test: Dataset, before: Estimate, seed: int
) -> Outcome:
    config = settings(name, start, output, seed)
    shutil.rmtree(config.run.output, ignore_errors=True)
    watch = Watch()
    began = time.perf_counter()
    trainer = training.train(config, callbacks=[watch])
    seconds = time.perf_counter() - began
    if trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    after = _accuracy(Path(config.run.output) / "model", test)
    history = trainer.state.log_history
    return Outcome(
        name,
        before,
        after,
        float(np.mean(_logged(history, "plan/silent_rollouts"))),
        float(np.mean(_logged(history, "plan/silent_samples"))),
        float(np.mean(_logged(history, "plan/distinct_samples"))),
        seconds,
        watch.curve(history, trainer.args.updates_per_rollout_batch),
        _logged(history, "plan/silent_rollouts"),
        watch.histogram(late=False),
        watch.histogram(late=True),
    )


class Watch(TrainerCallback):
    """Records the histogram of |advantage| of every rollout batch, and the time."""

    def __init__(self):
        self.rollouts, self.samples, self.seconds = [], [], {}

    def on_train_begin(self, args, state, control, **rest):
        """Start the clock."""
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **rest):
        """Record the time, and the plan at the end of a rollout batch."""
        self.seconds[state.global_step] = time.perf_counter() - self.began
        if state.global_step % args.updates_per_rollout_batch == 0:
            plan = self.trainer.batch.plan
            rollouts, samples = plan.rollouts, plan.of_rollouts
            advantage_N = group_advantage(rollouts.reward_N, rollouts.question_N)
            self.rollouts.append(_counts(advantage_N))
            self.samples.append(_counts(samples.advantage_M[~samples.padding_M]))

    def histogram(self, *, late: bool) -> dict[str, list[int]]:
        """Sum the counts over the first or the last tenth of the run."""
        tenth = max(1, len(self.rollouts) // 10)
        part = slice(-tenth, None) if late else slice(tenth)
        counts = {"rollouts": self.rollouts[part], "samples": self.samples[part]}
        return {name: np.sum(rows, axis=0).tolist() for name, rows in counts.items()}

    def curve(self, history: list[dict[str, Any]], every: int) -> list[dict[str, float]]:
        """Return the validation accuracy by rollout batch and seconds."""
        return [
            {
                "batch": entry["step"] / every,
                "seconds": self.seconds[entry["step"]],
                "accuracy": entry["eval_rewards/accuracy/mean"],
            }
            for entry in history
            if "eval_rewards/accuracy/mean" in entry
        ]


def _counts(advantage: np.ndarray) -> np.ndarray:
    return np.histogram(np.abs(advantage).clip(max=BINS[-1]), BINS)[0]


def _logged(history: list[dict[str, Any]], name: str) -> list[float]:
    return [entry[name] for entry in history if name in entry]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(files.home(home)) if home else Path.home() / ".cache") / "vantage"


def _write_data(folder: Path, seed: int) -> dict[str, Dataset]:
    """Write the questions of each split as parquet, and return them with chat prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {name: digits.questions(name, n=n, seed=seed) for name, n in QUESTIONS.items()}
    for name, rows in splits.items():
        rows.to_parquet(folder / f"{name}.parquet")
    return {
        name: rows.map(
            lambda q: {"prompt": [{"role": "user", "content": q}]}, input_columns="question"
        )
        for name, rows in splits.items()
    }


def _accuracy(path: Path, rows: Dataset) -> Estimate:
    model = AutoModelForImageTextToText.from_pretrained(path)
    processor = AutoProcessor.from_pretrained(path)
    texts = answer(model, processor, rows, max_tokens=12, batch=250)
    return pass_at_k(right_answers(texts, rows, accuracy), 1, 1)


def _text(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f}±{estimate.error:.3f}"


def _report(outcomes: list[Outcome], output: Path, console: Console) -> None:
    table = Table(
        *(Column(name, no_wrap=True) for name in HEADINGS),
        title="Held-out accuracy ± standard error",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for one in outcomes:
        table.add_row(
            one.recipe,
            _text(one.before),
            _text(one.after),
            f"{one.silent_rollouts:.0%}",
            f"{one.silent_samples:.0%}",
            f"{one.distinct_samples:.0f}",
            f"{one.seconds:.0f}",
        )
    console.print(table)
    values = [
        asdict(one) | {"before": one.before._asdict(), "after": one.after._asdict()}
        for one in outcomes
    ]
    (output / "summary.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    draw(outcomes, output / "learning.png")
    page.write([Record(output / one.recipe) for one in outcomes], output / "report.html")
    console.print(
        f"numbers in {output}/summary.json, figure in {output}/learning.png, "
        f"every rollout in {output}/report.html",
        soft_wrap=True,
    )
