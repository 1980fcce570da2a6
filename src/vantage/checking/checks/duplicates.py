"""Training rows that repeat another one."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking import leakage
from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding, pairs_named


@needs_rows
def duplicates(context: Context) -> Iterator[Finding]:
    """Training rows that ask what an earlier one asks, with the same or another answer."""
    looks = context.looks
    found = leakage.repeats(looks.keys)
    for words, pairs in (
        ("ask and answer what an earlier row does", found.same),
        ("ask what an earlier row does, with another answer", found.contradicting),
    ):
        if pairs:
            words = f"{len(pairs)} of {len(looks)} rows {words}: {pairs_named(pairs)}"
            yield Finding("warning", "duplicates", words)
