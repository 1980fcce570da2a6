"""Outcomes of the demo's runs, and their figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vantage.evaluation.figure import COLOURS
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


def draw(outcomes: list[Outcome], file: Path) -> None:
    """Draw accuracy by rollout batches and seconds, silent shares, and |advantage| histograms."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    axes = figure.subplots(2, 3)
    for number, one in enumerate(outcomes):
        colour = COLOURS[number % len(COLOURS)]
        _learning(axes[0, 0], one, "batch", colour)
        _learning(axes[0, 1], one, "seconds", colour)
        axes[0, 2].plot(_smooth(one.silent), color=colour, label=one.recipe)
    axes[0, 0].set(xlabel="rollout batches", ylabel="accuracy", title="Validation accuracy")
    axes[0, 1].set(xlabel="seconds", ylabel="accuracy", title="Validation accuracy by time")
    axes[0, 2].set(
        xlabel="rollout batches", ylabel="share", title="Silent rollouts (mean of 10 batches)"
    )
    axes[0, 0].legend(frameon=False)
    panels = (("early", "rollouts"), ("late", "rollouts"), ("late", "samples"))
    for axis, (when, what) in zip(axes[1], panels, strict=True):
        _histograms(axis, outcomes, when, what)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)


def _learning(axis, one: Outcome, against: str, colour: str) -> None:
    places, values = ([point[name] for point in one.curve] for name in (against, "accuracy"))
    axis.plot(places, values, ".-", color=colour, label=one.recipe)


def _histograms(axis, outcomes: list[Outcome], when: str, what: str) -> None:
    for number, one in enumerate(outcomes):
        counts = np.array(getattr(one, when)[what], dtype=float)
        share = counts / max(counts.sum(), 1)
        axis.stairs(share, BINS, color=COLOURS[number % len(COLOURS)], linewidth=1.5)
    tenth = "first" if when == "early" else "last"
    title = "rollouts generated" if what == "rollouts" else "samples trained"
    axis.set(xlabel="|advantage|", ylabel="share", title=f"{title}, {tenth} tenth of the run")


def _smooth(values: list[float], width: int = 10) -> np.ndarray:
    if len(values) < width:
        return np.array(values)
    return np.convolve(values, np.ones(width) / width, mode="valid")
