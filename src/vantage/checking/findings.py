"""A finding of a check, and its level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vantage.errors import some

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """A problem with, or a fact about, the data or the model.

    Attributes:
        level: an error prevents training or makes its result wrong.
        about: the subject, in a word or two.
        words: what was found, and what to do.
    """

    level: Level
    about: str
    words: str


def rows_named(rows: Sequence[int]) -> str:
    """Rows by their numbers, for a message; of many the first ones."""
    return f"row {rows[0]}" if len(rows) == 1 else f"rows {some(rows)}"


def pairs_named(pairs: Sequence[tuple[int, int]], limit: int = 5) -> str:
    """Pairs of (row, training row) for a message; of many the first `limit`."""
    shown = ", ".join(f"row {row} = training row {other}" for row, other in pairs[:limit])
    return shown + (f" and {len(pairs) - limit} more" if len(pairs) > limit else "")
