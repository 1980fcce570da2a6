"""`vantage report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vantage.cli import application
from vantage.cli.records import tell_left_out


def report(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path(
        "report.html"
    ),
) -> None:
    """Write an HTML page on RUNS: learning curves, sources of the gradient, every question."""
    from vantage.record.reading import Record
    from vantage.report import page

    records = [Record(run) for run in runs]
    for record in records:
        tell_left_out(record)
    page.write(records, output)
    application.console.print(f"written to {output!s}", soft_wrap=True)
