"""The tasks of the study: sums of real handwritten digits, with one cold start per seed.

"two" is the task of the demo: half of the answers are right at the start, and silent groups are
those with only right answers. "four" is a longer sum with a sparser reward: one answer in seven
is right at the start, and silent groups are those with only wrong answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, load_dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.demo import digits
from vantage.demo.cold_start import Settings, cold_start
from vantage.evaluation.generation import answer, right_answers
from vantage.rewards import accuracy

SPLITS = {"reinforcement": 2_000, "validation": 1_280, "test": 1_280}  # number of questions


@dataclass(frozen=True)
class Task:
    """Sums of digits.

    Attributes:
        digits: Digits per image.
        warm_up: Steps of the cold start.
        tokens: Maximum tokens per response.
    """

    digits: int
    warm_up: int
    tokens: int


TASKS = {"two": Task(2, 250, 12), "four": Task(4, 350, 18)}


@dataclass(frozen=True)
class Prepared:
    """A task with the files of one seed."""

    task: Task
    folder: Path

    @property
    def model(self) -> Path:
        """The cold-started model."""
        return self.folder / "start"

    def file(self, split: str) -> Path:
        """The file with the questions of a split."""
        return self.folder / f"{split}.parquet"

    def rows(self, split: str) -> Dataset:
        """Questions of a split with prompts for evaluation."""
        rows = load_dataset("parquet", data_files=str(self.file(split)), split="train")
        return rows.map(
            lambda question: {"prompt": [{"role": "user", "content": question}]},
            input_columns="question",
        )

    def accuracy(self, model, processor, rows: Dataset) -> float:
        """Share of right answers at T = 1, with one answer per question."""
        texts = answer(
            model, processor, rows, max_tokens=self.task.tokens, batch=320, progress=False
        )
        return float(right_answers(texts, rows, accuracy).mean())

    def before(self, split: str) -> float:
        """Accuracy of the cold-started model, measured by `prepare`."""
        return json.loads((self.folder / "before.json").read_text())[split]


def prepared(name: str, seed: int, folder: Path) -> Prepared:
    """A task with the files that `prepare` made for a seed."""
    return Prepared(TASKS[name], folder / f"{name}-{seed}")


def prepare(name: str, seed: int, folder: Path) -> None:
    """Make the model and the questions of a seed, unless they exist."""
    made = prepared(name, seed, folder)
    done = made.folder / "before.json"
    if done.exists():
        return
    made.folder.mkdir(parents=True, exist_ok=True)
    for split, n in SPLITS.items():
        rows = digits.questions(split, n=n, k=made.task.digits, seed=seed)
        rows.to_parquet(made.file(split))
    settings = Settings(k=made.task.digits, steps=made.task.warm_up)
    start = cold_start(folder / "cold-starts", seed=seed, settings=settings)
    if not made.model.exists():
        made.model.symlink_to(start.resolve(), target_is_directory=True)
    model = AutoModelForImageTextToText.from_pretrained(made.model)
    processor = AutoProcessor.from_pretrained(made.model)
    scores = {
        split: made.accuracy(model, processor, made.rows(split)) for split in ("validation", "test")
    }
    done.write_text(json.dumps(scores))
