"""`vantage recipes`."""

from __future__ import annotations

import inspect

from rich.table import Table

from vantage.cli import application


def recipes() -> None:
    """List recipes with their options and papers, and the directory of recipe files."""
    from vantage import recipe_files
    from vantage.methods import RECIPES

    table = Table("recipe", "options", "updates per batch", "description")
    for name, factory in RECIPES.items():
        parameters = inspect.signature(factory).parameters.values()
        options = ", ".join(f"{p.name}={p.default}" for p in parameters)
        summary = " ".join((inspect.getdoc(factory) or "").split())
        table.add_row(name, options, str(factory().loss.updates or 1), summary)
    application.console.print(table)
    application.console.print(f"recipe files to copy: {recipe_files.directory()!s}", soft_wrap=True)
