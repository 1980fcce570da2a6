"""The figure of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.table import PUBLISHED, Column, Line, heading
from vantage.terminal import line

# Okabe and Ito's palette, which is safe for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
WIDE = 3  # panels in a row


def draw(columns: Sequence[Column], rows: Sequence[Line], file: Path) -> None:
    """Draw a panel for each measure: your values with 95 % intervals, published ones hollow."""
    wide = min(WIDE, len(columns))
    yours = [row for row in rows if row.own]
    shown = [[row for row in rows if column in row.cells] for column in columns]
    heights = [
        1.1 + 0.26 * max(map(len, shown[start : start + wide]))
        for start in range(0, len(columns), wide)
    ]
    figure = Figure(figsize=(1.5 + 4.8 * wide, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), wide, height_ratios=heights)
    for number, (column, there) in enumerate(zip(columns, shown, strict=True)):
        _panel(figure.add_subplot(grid[divmod(number, wide)]), column, there, yours)
    figure.savefig(file, dpi=130)


def _panel(axis: Axes, column: Column, rows: Sequence[Line], yours: Sequence[Line]) -> None:
    for place, row in enumerate(rows):
        value = row.cells[column]
        if not row.own:
            axis.plot(100 * value.mean, place, "D", mfc="white", mec="#555555", ms=5)
            continue
        colour = COLOURS[yours.index(row) % len(COLOURS)]
        low, high = value.interval
        axis.plot([100 * low, 100 * high], [place, place], color=colour, lw=2)
        axis.plot(100 * value.mean, place, "o", color=colour, ms=6)
    axis.set_xlim(*_range([row.cells[column] for row in rows]))
    axis.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
    axis.set_title(_plain(heading(column)), fontsize=10)
    axis.set_xlabel("percent", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _range(values: Sequence[Estimate]) -> tuple[float, float]:
    """Return the limits of the axis, in percent: all values and intervals, with a margin."""
    ends = [end for value in values for end in value.interval]
    return max(-2.0, 100 * min(ends) - 5), min(102.0, 100 * max(ends) + 5)


def _label(row: Line) -> str:
    name = _plain(row.model if len(row.model) <= 32 else "..." + row.model[-29:])
    if not row.own:
        return f"{name} ({PUBLISHED})"
    return name if row.scored == "rule" else f"{name} ({_plain(row.scored)})"


def _plain(name: str) -> str:
    """Escape a name for matplotlib, which reads text between two dollars as a formula."""
    return line(name).replace("$", "\\$")
