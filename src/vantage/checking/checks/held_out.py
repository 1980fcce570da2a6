"""Rows of the validation and of the test: whether they can be used, and are not trained on."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.checks.long_prompts import too_long
from vantage.checking.checks.prompts import problems
from vantage.checking.checks.rewards import missing_columns
from vantage.checking.checks.rows import bad_rows
from vantage.checking.context import Context, HeldOut, needs_rows
from vantage.checking.findings import Finding, pairs_named


@needs_rows
def held_out(context: Context) -> Iterator[Finding]:
    """Findings of each held-out data set, one data set after the other."""
    for found in context.held_out:
        policy = context.run.settings.on_bad_row if found.validation else None
        yield from bad_rows(found.data, policy)
        if found.validation and len(found.data.rows):
            yield from _validation(context, found)
        yield from _leaks(found)


def _validation(context: Context, found: HeldOut) -> Iterator[Finding]:
    """Whether the run can validate on the rows: their columns, prompts and lengths."""
    name, rows = found.data.name, found.data.rows
    yield from missing_columns(context, name, rows)
    yield from problems(found.looks, f"{name}: ")
    if found.long:
        yield from too_long(found.long, len(rows), context.run.on_long_prompt, f" of {name}")


def _leaks(found: HeldOut) -> Iterator[Finding]:
    """Rows that are also training rows, and pictures that are also among those."""
    name, rows, shared = found.data.name, len(found.looks), found.shared
    if shared.both:
        words = f"{len(shared.both)} of {rows} rows of {name} are trained on"
        yield Finding("error", "leakage", f"{words}: {pairs_named(shared.both)}")
    if shared.pictures:
        words = (
            f"{len(shared.pictures)} of {rows} rows of {name} ask something else about a picture "
            f"that is trained on: {pairs_named(shared.pictures)}"
        )
        yield Finding("warning", "leakage", words)
