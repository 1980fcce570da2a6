"""What came out of the runs of the demo, as the table and the figure show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vantage.evaluation.pass_at_k import Estimate

BINS = np.linspace(0, 4, 41)


@dataclass(frozen=True)
class Outcome:
    """What came out of one recipe; accuracies are on the held-out test questions at T = 1.

    Attributes:
        recipe: its name.
        before, after: accuracy with its standard error.
        silent_rollouts: share of generated rollouts without an advantage, mean over the run.
        silent_samples: the same of the samples trained.
        distinct_samples: distinct (prompt, rollout) trained, mean a rollout batch.
        seconds: of training, validation included.
        curve: points of the run: rollout batch, seconds, validation accuracy.
        silent: share of silent rollouts of each rollout batch.
        early, late: counts of |advantage| in `BINS`, of rollouts and of samples trained.
    """

    recipe: str
    before: Estimate
    after: Estimate
    silent_rollouts: float
    silent_samples: float
    distinct_samples: float
    seconds: float
    curve: list[dict[str, float]]
    silent: list[float]
    early: dict[str, list[int]]
    late: dict[str, list[int]]
