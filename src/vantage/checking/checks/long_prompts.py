"""Prompts that are longer than the limit."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding, rows_named
from vantage.checking.tokens import LongRows


@needs_rows
def long_prompts(context: Context) -> Iterator[Finding]:
    """Report training rows whose longest prompt exceeds the limit."""
    if context.long:
        yield from too_long(context.long, len(context.rows), context.run.on_long_prompt)


def too_long(long: LongRows, rows: int, policy: str, of: str = "") -> Iterator[Finding]:
    """Report rows that exceed the limit, and how to make them fit.

    Args:
        long: These rows.
        rows: Number of all rows.
        policy: Value of `data.on_long_prompt`.
        of: " of " and the name of the data set; empty for the training rows.
    """
    if not long.rows:
        return
    of = f"{len(long.rows)} of {rows} rows{of} are longer than {long.limit} tokens"
    if policy == "error":
        yield Finding("error", "long prompts", f"{of}: {_advice(long)}")
    elif len(long.rows) == rows:
        yield Finding("error", "long prompts", f"{of}, so no row is left: {_advice(long)}")
    else:
        yield Finding("warning", "long prompts", f"{of} and would be dropped; {_advice(long)}")


def _advice(long: LongRows) -> str:
    words = []
    if long.max_pixels is not None:
        which = "the others" if long.hopeless else "all"
        words.append(f"max_pixels={long.max_pixels} would make {which} fit")
    if long.wordy:
        words.append(f"the text alone of {rows_named(long.wordy)} is too long")
    rest = [row for row in long.hopeless if row not in set(long.wordy)]
    if rest:
        words.append(f"{rows_named(rest)} would not fit at any image size")
    return "; ".join(words)
