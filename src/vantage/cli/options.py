"""`vantage options`."""

from __future__ import annotations

from rich.table import Table

from vantage.cli import application


def options() -> None:
    """List the options of a configuration file, with their types and defaults."""
    from vantage.config import Config, describe

    table = Table("option", "type", "default")
    for name, kind, default in describe(Config):
        table.add_row(name, kind, default)
    application.console.print(table)
