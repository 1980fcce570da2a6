"""Duplicate training rows."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking import leakage
from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding, pairs_named


@needs_rows
def duplicates(context: Context) -> Iterator[Finding]:
    """Warn about rows with the same question as an earlier row, with equal or other answers."""
    looks = context.looks
    found = leakage.repeats(looks.keys)
    for words, pairs in (
        ("have the question and answer of an earlier row", found.same),
        ("have the question of an earlier row but another answer", found.contradicting),
    ):
        if pairs:
            words = f"{len(pairs)} of {len(looks)} rows {words}: {pairs_named(pairs)}"
            yield Finding("warning", "duplicates", words)
