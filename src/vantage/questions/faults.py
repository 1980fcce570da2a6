"""Faults of data set rows: where they are, what is wrong, and how they are reported."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vantage import files
from vantage.errors import ConfigError

SHOWN = 20  # faults listed in a message
LONGEST = 500  # characters of a reason
# If the first `FIRST` of more than `MANY` rows are all bad, the rest is not checked.
MANY = 100_000
FIRST = 10_000


@dataclass(frozen=True)
class Fault:
    """A reason why a row cannot be used for training.

    Attributes:
        row: Row number, from 0.
        column: Name of the column; empty for the row as a whole.
        value: The beginning of the column's value.
        reason: What is wrong with it.
    """

    row: int
    column: str
    value: str
    reason: str

    @classmethod
    def of(cls, row: int, column: str, value: Any, reason: str) -> Fault:
        """Make a fault with the beginning of `value` as encodable text."""
        shown = value if isinstance(value, str) else SHORT.repr(value)
        return cls(row, *map(files.encodable, (column, shown[:80], reason[:LONGEST])))

    def __str__(self) -> str:
        where = f"row {self.row}, column {self.column!r}" if self.column else f"row {self.row}"
        return f"{where}: {self.reason} ({self.value!r})"


def message(source: str, faults: Sequence[Fault]) -> str:
    """The error message for faults: the number of bad rows and the first `SHOWN` faults."""
    rows = len({fault.row for fault in faults})
    lines = [f"{source}: {rows} {'row' if rows == 1 else 'rows'} cannot be used:"]
    lines += [f"  {fault}" for fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        lines.append(f"  and {len(faults) - SHOWN} more")
    return "\n".join(lines)


def write_all(path: Path, faults: Iterable[tuple[str, Fault]]) -> None:
    """Write (source, fault) as JSON Lines with the keys source, row, column, value and reason.

    Raises:
        ConfigError: The file cannot be written.
    """
    lines = [json.dumps({"source": source, **asdict(fault)}) + "\n" for source, fault in faults]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        why = files.reason(error)
        raise ConfigError(f"rejects={str(path)!r} cannot be written: {why}") from error


class _Short(reprlib.Repr):
    """Shortens values of any size and depth."""

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value[: self.maxother])


SHORT = _Short()
