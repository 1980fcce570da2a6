"""Answer options of multiple-choice questions, read from columns or from the question's text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vantage.errors import InputError
from vantage.questions.column_kinds import ANSWERING, Data, bare, value_at
from vantage.questions.schema import literal
from vantage.rewards.choice import LETTERS
from vantage.rewards.choice import named as letters_in
from vantage.rewards.references import reference

OPTIONS = ("options", "choices", "candidates", "option", "answer_choices", "answer_options")
# Data sets with one column per option: A, option_b, choice_C, option1.
ONE_EACH = re.compile(r"(?:(?:option|choice)_?)?([A-J])|(?:option|choice)_?([a-j]|\d\d?)")
# Keys of the text in an option object such as {"label": "A", "text": "red"}.
TEXTS = ("text", "texts", "value", "content", "option", "choice", "answer")
MOST = 0.9  # options are shown only if at least this share of the answers names one of them


def lettered(text: str) -> tuple[str, ...]:
    """Find options inside a text: "A: 40°\\nB: 60°", "A. 3; B. 4", "(A) 3 (B) 4"."""
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
    """Format options as the text appended to a question."""
    shown = (f"({name}) {option}" for name, option in zip(LETTERS, options, strict=False))
    return "\nChoices:\n" + "\n".join(shown)


def options_of(row: Mapping[str, Any], names: str | list[str] | None) -> list[str]:
    """Read the option texts of a row, starting with A; empty if it has none.

    Letters in front of the texts ("A. red") are removed.

    Args:
        row: A row of the data set.
        names: The columns with one option each, or the column that holds a list, an object, or a
            text that contains either. Objects map letters to texts, or hold lists of texts and
            labels.

    Raises:
        InputError: Any other value, more options than letters, or an empty option before another.
    """
    if isinstance(names, list):
        value: Any = [value_at(row, name) for name in names]
    else:
        value = value_at(row, names)
    if isinstance(value, str):
        value = _written(value)
    if isinstance(value, Mapping):
        value = _in_order(value)
    if not isinstance(value, list | tuple | None):
        raise InputError("expected a list of options")
    found = [_text_of(one) for one in value or ()]
    while found and not found[-1]:
        found.pop()
    if "" in found:
        name = f"option {found.index('') + 1}"
        raise InputError(f"{name} is empty but a later one is not, so their letters are unclear")
    if len(found) > len(LETTERS):
        raise InputError(f"{len(found)} options, expected at most {len(LETTERS)}: drop the row")
    return _without_letters(found)


def _written(text: str) -> Any:
    """Parse options from a JSON or Python list, a lettered text, or separated lines."""
    if text.strip()[:1] in ("[", "{"):
        return literal(text)
    if not text.strip():
        return []
    found = lettered(text)
    if len(found) > 1:
        return list(found)
    by = next((mark for mark in ("\n", "|", ";") if mark in text.strip()), None)
    return [one.strip() for one in text.strip().split(by)] if by else text


def _in_order(value: Mapping[str, Any]) -> list[Any]:
    """The options of an object: a list inside it, or its values ordered by letter or number."""
    lists = (value[name] for name in TEXTS if isinstance(value.get(name), list))
    found = next(lists, None)
    if found is not None:
        return found
    names = list(value)
    short = all(len(str(name).strip("().")) == 1 for name in names)
    return [value[name] for name in (sorted(names, key=str) if short else names)]


def _text_of(value: Any) -> str:
    """The text of one option; empty for None."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in TEXTS if value.get(name) is not None), value)
    if isinstance(value, list) and len(value) == 2 and str(value[0]).strip("().") in LETTERS:
        value = value[1]
    if isinstance(value, Mapping | list):
        raise InputError(f"an option is {value!r:.80}, expected a text")
    return "" if value is None else str(value).strip()


def _without_letters(options: list[str]) -> list[str]:
    """Remove leading letters from options if all options have the expected one."""
    pairs = zip(LETTERS, options, strict=False)
    marked = [re.match(rf"\(?{name}\s*[.:)]\s*(?=\S)", one, re.I) for name, one in pairs]
    if len(options) < 2 or not all(marked):
        return options
    return [one[found.end() :] for one, found in zip(options, marked, strict=True) if found]


def option_columns(data: Data, answer: str | None) -> str | list[str] | None:
    """The option columns, if most answers name one of the options; else None."""
    names = candidates(data)
    if names is None or answer is None:
        return None
    rows = _with_options(data, names, answer)
    right = sum(_names_one(truth, options) for options, truth in rows)
    return names if rows and right >= MOST * len(rows) else None


def candidates(data: Data) -> str | list[str] | None:
    """The column with lists of options, or else the columns with one option each; or None."""
    lists = data.first(OPTIONS, ("texts", "text", "other", "number"))
    lists += [name for name in data.first(OPTIONS, ("empty",)) if data.inside(name)]
    lists = [name for name in lists if any(len(_readable(row, name)) > 1 for row in data.sample)]
    return lists[0] if lists else _one_each(data)


def _readable(row: Mapping[str, Any], names: str | list[str]) -> list[str]:
    """The options of a row; empty if they cannot be read."""
    try:
        return options_of(row, names)
    except InputError:
        return []


def _one_each(data: Data) -> list[str] | None:
    """The columns with one option each, ordered by their letters or numbers."""
    by_letter: dict[int, str] = {}
    by_number: dict[int, str] = {}
    for name in data.names:
        found = ONE_EACH.fullmatch(name)
        if found is None or data.kind(name) not in (*ANSWERING, "empty"):
            continue
        mark = (found[1] or found[2]).upper()
        (by_number if mark.isdecimal() else by_letter).setdefault(_rank(mark), name)
    for columns, starts in ((by_letter, (0,)), (by_number, (0, 1))):
        ranks = sorted(columns)
        run = [columns[rank] for rank in ranks]
        while run and data.kind(run[-1]) == "empty":
            run.pop()
        if len(run) > 1 and ranks[0] in starts and ranks[len(run) - 1] - ranks[0] == len(run) - 1:
            return run
    return None


def _rank(mark: str) -> int:
    return int(mark) if mark.isdecimal() else LETTERS.index(mark)


def _with_options(
    data: Data, names: str | list[str], answer: str | None
) -> list[tuple[list[str], Any]]:
    pairs = ((_readable(row, names), _truth(row, answer)) for row in data.sample)
    return [(options, truth) for options, truth in pairs if options]


def _truth(row: Mapping[str, Any], answer: str | None) -> str:
    found = bare(value_at(row, answer))
    whole = isinstance(found, float) and found.is_integer()
    return str(int(found) if whole else found).strip()


def _names_one(truth: str, options: Sequence[str]) -> bool:
    """Whether an answer names one or more options by letter, text or number."""
    if truth.isdecimal() and truth not in options:
        return int(truth) <= len(options)
    return bool(letters_of(truth, options))


def letters_of(answer: str, options: Sequence[str]) -> str:
    """Letters of the options that an answer names, as the rewards read it; empty if none."""
    return "".join(sorted(letters_in(reference(answer), options)))


def counted_from(data: Data, names: str | list[str], answer: str | None) -> int | None:
    """Number of the first option, usually 0 or 1; None if the answers are not option numbers.

    Raises:
        InputError: The answers do not show whether they count from 0 or from 1.
    """
    pairs = _with_options(data, names, answer)
    numbers = [int(t) for options, t in pairs if t.isdecimal() and int(t) <= len(options)]
    if len(numbers) < len(pairs) or all(truth in options for options, truth in pairs):
        return None
    last = any(number == len(options) for number, (options, _) in zip(numbers, pairs, strict=True))
    columns = re.search(r"\d+$", names[0]) if isinstance(names, list) else None
    if columns is not None:
        return int(columns[0])
    if last != (0 in numbers):
        return int(last)
    ends = "both 0 and the last number occur" if last else "neither 0 nor the last number occurs"
    raise InputError(
        f"{data.source}: column {answer!r} holds option numbers, but it is unclear whether they "
        f"count from 0 or from 1, as {ends}; write letters, or set columns: {{options: null}}"
    )
