"""`vantage recipes`."""

from __future__ import annotations

import inspect
from pathlib import Path

from rich.table import Table

import vantage
from vantage.cli import application


def recipes() -> None:
    """List recipes with their options and papers, and the directory of recipe files."""
    from vantage.methods import RECIPES

    table = Table("recipe", "options", "updates per batch", "description")
    for name, factory in RECIPES.items():
        parameters = inspect.signature(factory).parameters.values()
        options = ", ".join(f"{p.name}={p.default}" for p in parameters)
        summary = " ".join((inspect.getdoc(factory) or "").split())
        table.add_row(name, options, str(factory().loss.updates or 1), summary)
    application.console.print(table)
    package = Path(vantage.__file__).parent
    installed = package / "recipes"
    files = installed if installed.is_dir() else package.parents[1] / "recipes"  # in a clone
    application.console.print(f"recipe files to copy: {files!s}", soft_wrap=True)
