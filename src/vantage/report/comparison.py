"""Table and figure that compare a replay with the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from vantage import files, terminal
from vantage.methods import Recipe
from vantage.record.reading import Record
from vantage.record.replay import Replay

# Name of a measure, its label, and its format.
MEASURES = (
    ("useful_share", "useful share of rollouts", "{:.1%}"),
    ("contrast", "contrast of a pair", "{:.2f}"),
    ("trained_questions", "questions trained per batch", "{:.1f}"),
    ("distinct_samples", "distinct samples per batch", "{:.1f}"),
    ("repeats", "repeats of a sample", "{:.2f}"),
    ("samples_per_update", "samples per update", "{:.1f}"),
    ("silent_samples", "silent share of samples", "{:.1%}"),
    ("dropped_rollouts", "dropped share of rollouts", "{:.1%}"),
    ("shared_samples", "samples under another prompt", "{:.1%}"),
)
# Okabe and Ito's palette, which is safe for colour-blind readers.
DONE, WOULD = "#0072B2", "#D55E00"
WIDTH = 10  # window of the moving average, in batches


def table(found: Replay, done: str, would: str) -> Table:
    """Build a table of means over the run, as trained and as replayed."""
    made = Table(
        "mean per batch",
        f"trained ({done})",
        f"replayed ({would})",
        title=f"{len(found.steps)} rollout batches",
        box=SIMPLE_HEAD,
    )
    for name, words, form in MEASURES:
        made.add_row(
            words, *(form.format(values[name].mean()) for values in (found.done, found.would))
        )
    return made


def remarks(record: Record, recipe: Recipe, found: Replay) -> list[str]:
    """Return what the reader of the table must know."""
    same = int(found.same_B.sum())
    said = [f"plans equal to the trained ones: {same} of {len(found.steps)} batches"]
    prompts = record.table("prompts", ["variant"])["variant"].to_numpy()
    if recipe.shares and not prompts.any():
        said.append(
            "every question of this run has one prompt, so there is nothing to share: "
            f"{recipe.name} trains on each response under its own prompt only"
        )
    if recipe.refills:
        said.append(
            f"{recipe.name} replaces silent questions by new ones, which have no recorded "
            "rollouts: the replay does not replace them"
        )
    return said


def draw(found: Replay, done: str, would: str, file: Path) -> None:
    """Draw the measures over the run, as a moving average of ten batches."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, 3)
    for axis, (name, words, form) in zip(axes.flat, MEASURES, strict=False):
        for label, values, colour, line in (
            (f"trained: {_plain(done)}", found.done, DONE, "-"),
            (f"replayed: {_plain(would)}", found.would, WOULD, "--"),
        ):
            axis.plot(*_smooth(found.steps, values[name]), line, color=colour, label=label)
        axis.set(title=words, xlabel="rollout batch")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        if "%" in form:
            axis.yaxis.set_major_formatter(PercentFormatter(1))
    axes[0, 0].legend(frameon=False)
    with files.naming(file):
        figure.savefig(file, dpi=120)


def _plain(name: str) -> str:
    """Escape a name for matplotlib, which reads text between two dollars as a formula."""
    return terminal.line(name).replace("$", "\\$")


def _smooth(steps: list[int], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = min(WIDTH, len(values))
    means = np.convolve(values, np.ones(width) / width, mode="valid")
    return np.array(steps)[width - 1 :], means
