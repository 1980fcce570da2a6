"""`vantage replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vantage import files
from vantage.cli import application
from vantage.cli.overrides import settings_of
from vantage.cli.records import tell_left_out


def replay(
    run: Annotated[Path, typer.Argument(help="Directory of a run.")],
    recipe: Annotated[str, typer.Option(help="Recipe name, or file.py:function.")],
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the recipe, as name=value.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG file for the figure.")
    ] = None,
) -> None:
    """Show what another recipe would have trained on the rollouts of RUN. Needs no model."""
    from vantage.evaluation.results import label
    from vantage.methods.recipe import recipe as named_recipe
    from vantage.record.reading import Record
    from vantage.record.replay import replay as replayed
    from vantage.report import comparison

    other = named_recipe(recipe, **settings_of(options or []))
    figure = output or run / f"replay-{label(other.name)}.png"
    files.check_writable(figure, "--output")
    record = Record(run)
    tell_left_out(record)
    found = replayed(record, other)
    done = record.about.name
    application.console.print(comparison.table(found, done, other.name))
    for line in comparison.remarks(record, other, found):
        application.console.print(line, soft_wrap=True)
    comparison.draw(found, done, other.name, figure)
    application.console.print(f"figure in {figure!s}", soft_wrap=True)
