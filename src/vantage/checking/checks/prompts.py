"""Prompts: whether they encode consistently and within the limit, without special tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from vantage.checking.context import Context, every
from vantage.checking.findings import Finding, Level, rows_named
from vantage.checking.inspecting import Looks
from vantage.checking.parity import Model
from vantage.checking.tokens import LongRows
from vantage.questions.schema import IMAGE

SHOWN = 20  # distinct problems reported


def prompts(context: Context) -> Iterator[Finding]:
    """Report problems with the prompts of the training rows, or a note if there are none."""
    looks = context.looks
    yield from problems(looks)
    if not looks.problems and looks.token_Q.any():
        twice = len(range(0, len(looks), every(len(looks))))
        words = f"ids of the conversation and of its text are equal on all {twice} rows compared"
        yield Finding("note", "prompts", words)


def problems(looks: Looks, where: str = "") -> Iterator[Finding]:
    """Report problems with prompts, with one finding for all rows that share a problem.

    Args:
        looks: Results of the inspection of the rows.
        where: Prefix of each finding.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for place, problem in looks.problems.items():
        rows_of[problem].append(int(looks.row_Q[place]))
    for problem, rows in list(rows_of.items())[:SHOWN]:
        yield Finding("error", "prompts", f"{where}{rows_named(rows)}: {problem}")
    rest = list(rows_of.values())[SHOWN:]
    if rest:
        more = f"{where}{sum(map(len, rest))} more rows with other problems"
        yield Finding("error", "prompts", more)


def special_tokens(context: Context) -> Iterator[Finding]:
    """Report special tokens in the template, in the system prompt and in the rows."""
    model, data, looks = context.model, context.run.config.data, context.looks
    template = data.template.replace(IMAGE, "")  # a placeholder of vantage, never rendered
    for option, text in (("template", template), ("system_prompt", data.system_prompt)):
        for token in model.hidden_in([text or ""]):
            yield _special(model, f"data.{option}", token)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for place, tokens in looks.hidden.items():
        for token in tokens:
            rows_of[token].append(int(looks.row_Q[place]))
    for token, rows in rows_of.items():
        yield _special(model, rows_named(rows), token)


def _special(model: Model, where: str, token: str) -> Finding:
    level: Level = "error" if model.grave(token) else "warning"
    words = f"{where}: {token!r} in the text is a special token of the model; reword it"
    return Finding(level, "special tokens", words)


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
