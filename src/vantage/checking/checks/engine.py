"""Warnings of the engine about the configuration."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context
from vantage.checking.findings import Finding


def engine(context: Context) -> Iterator[Finding]:
    """Report the warnings of the engine."""
    for words in context.run.warnings:
        yield Finding("warning", "engine", words)
