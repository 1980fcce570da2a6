"""Rows: whether they are usable, training rows distinct and held-out rows absent from them."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking import leakage
from vantage.checking.checks.prompts import problems, too_long
from vantage.checking.checks.rewards import missing_columns
from vantage.checking.context import Context, HeldOut
from vantage.checking.data_sets import DataSet
from vantage.checking.findings import Finding, pairs_named


def rows(context: Context) -> Iterator[Finding]:
    """Report unusable training rows."""
    return bad_rows(context.train, context.run.config.data.on_bad_row)


def bad_rows(data: DataSet, policy: str | None) -> Iterator[Finding]:
    """Report unusable rows of a data set.

    Args:
        data: The data set.
        policy: Value of `data.on_bad_row`; None for a data set that the run does not read.
    """
    if not data.bad:
        return
    of = f"{data.name}: {data.bad} of {data.bad + len(data.rows)} rows cannot be used"
    if not len(data.rows):
        yield Finding("error", "bad rows", f"{of}, so no row is left")
    elif policy is None:
        yield Finding("warning", "bad rows", of)
    elif policy == "error":
        advice = "repair them, or set data.on_bad_row to 'skip'"
        yield Finding("error", "bad rows", f"{of}: {advice}")
    else:
        yield Finding("warning", "bad rows", f"{of} and would be skipped")


def columns(context: Context) -> Iterator[Finding]:
    """Note columns that could have been used but are not."""
    for words in context.train.remarks:
        yield Finding("note", "columns", words)


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
