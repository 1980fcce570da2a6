"""Output that `vantage report` and `vantage replay` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vantage.cli import application

if TYPE_CHECKING:
    from vantage.record import Record


def tell_left_out(record: Record) -> None:
    """Print the files in a record's directory that do not belong to it."""
    for place in record.foreign:
        line = f"{str(place)!a} is not a batch of the record: ignored"
        application.console.print(line, soft_wrap=True)
