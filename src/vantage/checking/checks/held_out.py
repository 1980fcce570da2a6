"""Validation and test rows: whether they are usable and absent from the training rows."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.checks.prompts import problems, too_long
from vantage.checking.checks.rewards import missing_columns
from vantage.checking.checks.rows import bad_rows
from vantage.checking.context import Context, HeldOut
from vantage.checking.findings import Finding, pairs_named


def held_out(context: Context) -> Iterator[Finding]:
    """Check each held-out data set."""
    for found in context.held_out:
        policy = context.run.config.data.on_bad_row if found.validation else None
        yield from bad_rows(found.data, policy)
        if found.validation and len(found.data.rows):
            yield from _validation(context, found)
        yield from _leaks(found)


def _validation(context: Context, found: HeldOut) -> Iterator[Finding]:
    """Check the columns, prompts and lengths of validation rows."""
    name, rows = found.data.name, found.data.rows
    yield from missing_columns(context, name, rows)
    yield from problems(found.looks, f"{name}: ")
    if found.long:
        yield from too_long(found.long, len(rows), context.run.on_long_prompt, f" of {name}")


def _leaks(found: HeldOut) -> Iterator[Finding]:
    """Report held-out rows that are training rows, or share images with them."""
    name, rows, shared = found.data.name, len(found.looks), found.shared
    if shared.both:
        words = f"{len(shared.both)} of {rows} rows of {name} are also training rows"
        yield Finding("error", "leakage", f"{words}: {pairs_named(shared.both)}")
    if shared.pictures:
        words = (
            f"{len(shared.pictures)} of {rows} rows of {name} ask another question about an image "
            f"of a training row: {pairs_named(shared.pictures)}"
        )
        yield Finding("warning", "leakage", words)
