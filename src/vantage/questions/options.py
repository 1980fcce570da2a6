"""Options that a question is asked with: found in columns or in its text, written behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vantage.errors import InputError
from vantage.questions.kinds import ANSWERING, Data, bare, value_at
from vantage.questions.layouts import Columns, named
from vantage.questions.schema import texts
from vantage.rewards.choice import LETTERS

OPTIONS = ("options", "choices", "candidates")
LETTERED = re.compile(r"(?:(?:option|choice)_?)?([A-J])|(?:option|choice)_?([a-j])")
MOST = 0.9  # of answers that must name an option for the options to be shown


def lettered(text: str) -> tuple[str, ...]:
    """Options that are written into a text: "A: 40°\\nB: 60°", "A. 3; B. 4", "(A) 3 (B) 4"."""
    text = re.split(r"(?:Choices|Options)\s*:", text)[-1]
    bounds: list[tuple[int, int]] = []
    for name in LETTERS:
        start = bounds[-1][1] if bounds else 0
        found = re.compile(rf"(?:^|[\s;,(]){name}\s*[.:)]\s*").search(text, max(0, start - 1))
        if not found:
            break
        bounds.append(found.span())
    ends = [*(start for start, _ in bounds[1:]), len(text)]
    spans = zip(bounds, ends, strict=False)
    return tuple(text[start:end].strip(" ;,\n") for (_, start), end in spans)


def listing(options: tuple[str, ...]) -> str:
    """Options as they are shown behind a question."""
    shown = (f"({name}) {option}" for name, option in zip(LETTERS, options, strict=False))
    return "\nChoices:\n" + "\n".join(shown)


def options_of(row: Mapping[str, Any], columns: Columns) -> list[str]:
    """The texts of the options of a row, A first; empty where it has none.

    Raises:
        InputError: a column of something else than options.
    """
    names = columns.options
    if names is None:
        return []
    values = [value_at(row, name) for name in named(names)]
    return listed_options(values[0] if isinstance(names, str) else values)


def listed_options(value: Any) -> list[str]:
    """Options as a list, a text that holds one, or an object by letter or of texts and labels.

    Raises:
        InputError: something else.
    """
    if isinstance(value, Mapping):
        found = value.get("text") or value.get("texts")
        value = found if isinstance(found, list) else list(value.values())
    if isinstance(value, str):
        value = texts(value, "options")
    if not isinstance(value, list | tuple | None):
        raise InputError("expected a list of options")
    there = [one for one in value or () if one is not None and str(one).strip()]
    return [str(one).strip() for one in there]


def option_columns(data: Data, answer: str | None) -> str | list[str] | None:
    """Columns of options, where the answers name one of them."""
    names = candidates(data)
    if names is None or answer is None:
        return None
    rows = _with_options(data, names, answer)
    right = sum(_names_one(truth, options) for options, truth in rows)
    return names if rows and right >= MOST * len(rows) else None


def candidates(data: Data) -> str | list[str] | None:
    """The column of lists of options, or the columns of one option each; None without any."""
    lists = data.first(OPTIONS, ("texts", "text", "other", "number"))
    lists += [name for name in OPTIONS if data.has(name) and data.inside(name)]
    if lists:
        return lists[0]
    letters = {
        (found[1] or found[2]).upper(): name
        for name in data.names
        if (found := LETTERED.fullmatch(name)) and data.kind(name) in ANSWERING
    }
    run = [letters[letter] for letter in sorted(letters)]
    return run if len(run) > 1 and sorted(letters)[0] == "A" else None


def _with_options(
    data: Data, names: str | list[str], answer: str | None
) -> list[tuple[list[str], Any]]:
    found = []
    for row in data.sample:
        try:
            options = options_of(row, Columns(options=names))
        except InputError:
            continue
        if options:
            found.append((options, bare(value_at(row, answer))))
    return found


def _names_one(truth: Any, options: Sequence[str]) -> bool:
    """Whether an answer is a letter, the text or the number of an option."""
    text = str(truth).strip()
    if text in options:
        return True
    if text.isdecimal():
        return int(text) < len(options)
    return letter_of(text, options) is not None


def letter_of(answer: str, options: Sequence[str]) -> str | None:
    """The letter of the option that an answer names by its letter or by its text."""
    letters = LETTERS[: len(options)]
    bare = answer.strip().strip("().:").upper()
    if len(bare) == 1 and bare in letters:
        return bare
    same = [letter for letter, text in zip(letters, options, strict=False) if text == answer]
    return same[0] if len(same) == 1 else None


def indexed(data: Data, names: str | list[str], answer: str | None) -> bool:
    """Whether answers are numbers of options; refuses those that count from nobody knows where."""
    rows = _with_options(data, names, answer)
    pairs = [(options, str(truth).strip()) for options, truth in rows]
    numbers = [int(t) for options, t in pairs if t.isdecimal() and int(t) <= len(options)]
    if len(numbers) < len(pairs) or all(truth in options for options, truth in pairs):
        return False
    if 0 in numbers:
        return True
    raise InputError(
        f"{data.source}: column {answer!r} holds numbers of options, and none is 0: whether they "
        "count from 0 or from 1 is not plain; write letters, or columns: {options: null}"
    )
