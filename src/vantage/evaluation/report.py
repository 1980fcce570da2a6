"""The report of an evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from vantage.evaluation.results import Result
from vantage.evaluation.run import Evaluated


def compared(found: Evaluated) -> Iterator[str]:
    """Yield a line for each difference between this model and another in the directory."""
    files = {one.path for one in found.results}
    for one in found.differences:
        if files & set(one.files):
            shown = one if one.files[0] in files else one.turned
            mark = "" if one.alike else " (asked differently: see --as)"
            names = f"{shown.model} - {shown.other}"
            yield f"{one.benchmark}: {names}: {shown.points} points{mark}"


def table(found: Sequence[Result]) -> Table:
    """Build a table of the main measures and pass@k, in percent; files hold every measure."""
    shown = Table("benchmark", "scored by", "measure", "percent", "95 % interval")
    for result in found:
        for name, one in result.measures.items():
            if name not in result.shown and not name.startswith("pass@"):
                continue
            low, high = (f"{100 * bound:.1f}" for bound in one.interval)
            value = f"{100 * one.mean:.1f}"
            place = (result.title, result.scored, name)
            shown.add_row(*place, value, f"{low} to {high}")
    return shown
