"""Rows that cannot be trained: where they are, what is wrong, and what becomes of them."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vantage import files
from vantage.errors import ConfigError

SHOWN = 20  # faults in a message
LONGEST = 500  # characters of a reason
# Where there are more rows than `MANY`, and the first of them are all bad, the others are too.
MANY = 100_000
FIRST = 10_000


@dataclass(frozen=True)
class Fault:
    """Something in a row that keeps it from being trained.

    Attributes:
        row: its number, from 0.
        column: where; empty for the row as a whole.
        value: the beginning of what stands there.
        reason: what is wrong with it.
    """

    row: int
    column: str
    value: str
    reason: str

    @classmethod
    def of(cls, row: int, column: str, value: Any, reason: str) -> Fault:
        """A fault, with the beginning of any value as text that can be written anywhere."""
        shown = value if isinstance(value, str) else SHORT.repr(value)
        return cls(row, *map(files.encodable, (column, shown[:80], reason[:LONGEST])))

    def __str__(self) -> str:
        where = f"row {self.row}, column {self.column!r}" if self.column else f"row {self.row}"
        return f"{where}: {self.reason} ({self.value!r})"


def message(source: str, faults: Sequence[Fault]) -> str:
    """What is said about faults: the first `SHOWN` of them, and how many rows have some."""
    rows = len({fault.row for fault in faults})
    lines = [f"{source}: {rows} {'row' if rows == 1 else 'rows'} cannot be used:"]
    lines += [f"  {fault}" for fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        lines.append(f"  and {len(faults) - SHOWN} more")
    return "\n".join(lines)


def write(path: Path, source: str, faults: Iterable[Fault]) -> None:
    """Faults as lines of JSON: source, row, column, value, reason.

    Raises:
        ConfigError: a file that cannot be written.
    """
    write_all(path, ((source, fault) for fault in faults))


def write_all(path: Path, faults: Iterable[tuple[str, Fault]]) -> None:
    """Faults of several sources as lines of JSON, as `write`."""
    lines = [json.dumps({"source": source, **asdict(fault)}) + "\n" for source, fault in faults]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        why = files.reason(error)
        raise ConfigError(f"rejects={str(path)!r} cannot be written: {why}") from error


class _Short(reprlib.Repr):
    """The beginning of any value, however large or deep it is."""

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value[: self.maxother])


SHORT = _Short()
