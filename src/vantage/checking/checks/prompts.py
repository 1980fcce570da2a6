"""Prompts that the processor cannot encode, or encodes inconsistently."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding, rows_named
from vantage.checking.inspecting import Looks

SHOWN = 20  # distinct problems reported


@needs_rows
def prompts(context: Context) -> Iterator[Finding]:
    """Report problems with the prompts of the training rows, or a note if there are none."""
    looks = context.looks
    yield from problems(looks)
    if not looks.problems and looks.token_Q.any():
        twice = len(range(0, len(looks), context.every))
        words = f"ids of the conversation and of its text are equal on all {twice} rows compared"
        yield Finding("note", "prompts", words)


def problems(looks: Looks, where: str = "") -> Iterator[Finding]:
    """Report problems with prompts, with one finding for all rows that share a problem.

    Args:
        looks: Results of the inspection of the rows.
        where: Prefix of each finding.
    """
    rows_of: dict[str, list[int]] = {}
    for place, problem in looks.problems.items():
        rows_of.setdefault(problem, []).append(int(looks.row_Q[place]))
    for problem, rows in list(rows_of.items())[:SHOWN]:
        yield Finding("error", "prompts", f"{where}{rows_named(rows)}: {problem}")
    rest = list(rows_of.values())[SHOWN:]
    if rest:
        more = f"{where}{sum(map(len, rest))} more rows with other problems"
        yield Finding("error", "prompts", more)
