"""Outcomes of the demo's runs, as shown in the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vantage.evaluation.pass_at_k import Estimate

BINS = np.linspace(0, 4, 41)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one recipe; accuracies are on held-out test questions at temperature 1.

    Attributes:
        recipe: Name of the recipe.
        before, after: Accuracy before and after training, with its standard error.
        silent_rollouts: Share of generated rollouts whose advantage is 0, mean over the run.
        silent_samples: Share of trained samples whose advantage is 0, mean over the run.
        distinct_samples: Distinct (prompt, rollout) keys trained, mean per rollout batch.
        seconds: Duration of the training, including validations.
        curve: Points of the run: rollout batch, seconds, validation accuracy.
        silent: Share of silent rollouts in each rollout batch.
        early, late: Counts of |advantage| in `BINS` over the first and the last tenth of the run,
            of rollouts and of trained samples.
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
