"""What the engine says about the options."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context
from vantage.checking.findings import Finding


def engine(context: Context) -> Iterator[Finding]:
    """Warnings of the engine."""
    for words in context.run.warnings:
        yield Finding("warning", "engine", words)
