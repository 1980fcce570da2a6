"""Unusable rows."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context
from vantage.checking.data_sets import DataSet
from vantage.checking.findings import Finding


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
