"""The figure of the demo."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from vantage.demo.outcomes import BINS, Outcome

# Okabe and Ito's palette, which is safe for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def draw(outcomes: list[Outcome], file: Path) -> None:
    """Draw accuracy by rollout batches and seconds, silent shares, and |advantage| histograms."""
    plotted, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
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
    plotted.savefig(file, dpi=110)
    plt.close(plotted)


def _learning(axis, one: Outcome, against: str, colour: str) -> None:
    points = [point[against] for point in one.curve]
    axis.plot(
        points, [point["accuracy"] for point in one.curve], ".-", color=colour, label=one.recipe
    )


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
