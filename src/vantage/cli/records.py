"""What `vantage report` and `vantage replay` print about the record of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vantage.cli import application

if TYPE_CHECKING:
    from vantage.record import Record


def tell_left_out(record: Record) -> None:
    """Print the files in a record that are no batch of it."""
    for place in record.foreign:
        line = f"{str(place)!a} is no batch of the record: left out"
        application.console.print(line, soft_wrap=True)
