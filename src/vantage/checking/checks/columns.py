"""The choice of columns."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding


@needs_rows
def columns(context: Context) -> Iterator[Finding]:
    """Note columns that could have been used but are not."""
    for words in context.train.remarks:
        yield Finding("note", "columns", words)
