"""The report of an evaluation: the files of the table, and what the terminal shows."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from vantage import files
from vantage.evaluation.differences import Difference
from vantage.evaluation.differences import markdown as paired
from vantage.evaluation.results import Result
from vantage.evaluation.table import comma_separated, lines, markdown


def write(folder: Path, results: Sequence[Result], between: Sequence[Difference]) -> list[Path]:
    """Write table.md, table.csv and, if matplotlib is installed, table.png; return the files."""
    written = [folder / "table.md", folder / "table.csv"]
    text = markdown(results)
    if between:
        text += "\nDifferences in points, on the questions that both answered:\n\n"
        text += paired(between)
    files.write(written[0], text.encode())
    files.write(written[1], comma_separated(results).encode())
    if importlib.util.find_spec("matplotlib"):
        from vantage.evaluation.figure import draw

        written.append(folder / "table.png")
        with files.whole(written[-1]) as unfinished:
            draw(*lines(results), unfinished)
    return written


def compared(results: Sequence[Result], between: Sequence[Difference]) -> Iterator[str]:
    """Yield a line for each difference between the model of `results` and another."""
    own = {one.path for one in results}
    for one in between:
        if own & set(one.files):
            shown = one if one.files[0] in own else one.turned
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
