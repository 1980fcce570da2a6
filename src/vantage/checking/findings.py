"""Findings of checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vantage.errors import some, some_names

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """A problem with, or a fact about, the data or the model.

    Attributes:
        level: Severity; an error prevents training or makes its result wrong.
        about: The subject in one or two words.
        words: What was found, and what to do.
    """

    level: Level
    about: str
    words: str


def rows_named(rows: Sequence[int]) -> str:
    """Format row numbers for a message; lists only the first of many."""
    return f"row {rows[0]}" if len(rows) == 1 else f"rows {some(rows)}"


def pairs_named(pairs: Sequence[tuple[int, int]]) -> str:
    """Format (row, training row) pairs for a message; lists only the first of many."""
    return some_names(f"row {row} = training row {other}" for row, other in pairs)
