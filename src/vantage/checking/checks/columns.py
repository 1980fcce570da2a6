"""The choice of columns."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding


@needs_rows
def columns(context: Context) -> Iterator[Finding]:
    """Other ways to read the columns of the data."""
    for words in context.train.remarks:
        yield Finding("note", "columns", words)
