"""Options that a question is asked with: found in columns or in its text, written behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vantage.errors import InputError
from vantage.questions.column_kinds import ANSWERING, Data, bare, value_at
from vantage.questions.layouts import Columns, named
from vantage.questions.schema import literal
from vantage.rewards.choice import LETTERS
from vantage.rewards.choice import named as letters_in
from vantage.rewards.references import reference

OPTIONS = ("options", "choices", "candidates", "option", "answer_choices", "answer_options")
# A column for each option: A, option_b, choice_C, option1.
ONE_EACH = re.compile(r"(?:(?:option|choice)_?)?([A-J])|(?:option|choice)_?([a-j]|\d\d?)")
# Where the text of an option stands in an object, as {"label": "A", "text": "red"}.
TEXTS = ("text", "texts", "value", "content", "option", "choice", "answer")
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
    """Options as a list, an object by letter or of texts and labels, or a text that holds either.

    Letters in front of them ("A. red") are left out.

    Raises:
        InputError: something else, more options than letters, or an empty one among them.
    """
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
        raise InputError(f"{name} is empty and a later one is not: which letters have they?")
    if len(found) > len(LETTERS):
        raise InputError(f"{len(found)} options, more than {len(LETTERS)}: leave the row out")
    return _without_letters(found)


def _written(text: str) -> Any:
    """Options in a text: JSON, as Python writes a list, behind letters, or a line each."""
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
    """The options of an object: a list inside it, or one by each letter or number."""
    lists = (value[name] for name in TEXTS if isinstance(value.get(name), list))
    found = next(lists, None)
    if found is not None:
        return found
    names = list(value)
    short = all(len(str(name).strip("().")) == 1 for name in names)
    return [value[name] for name in (sorted(names, key=str) if short else names)]


def _text_of(value: Any) -> str:
    """The text of one option; empty for none."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in TEXTS if value.get(name) is not None), value)
    if isinstance(value, list) and len(value) == 2 and str(value[0]).strip("().") in LETTERS:
        value = value[1]
    if isinstance(value, Mapping | list):
        raise InputError(f"an option is {value!r:.80}, expected a text")
    return "" if value is None else str(value).strip()


def _without_letters(options: list[str]) -> list[str]:
    """Options without the letters that they all have in front."""
    pairs = zip(LETTERS, options, strict=False)
    marked = [re.match(rf"\(?{name}\s*[.:)]\s*(?=\S)", one, re.I) for name, one in pairs]
    if len(options) < 2 or not all(marked):
        return options
    return [one[found.end() :] for one, found in zip(options, marked, strict=True) if found]


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
    lists += [name for name in data.first(OPTIONS, ("empty",)) if data.inside(name)]
    lists = [name for name in lists if _holds_options(data, name)]
    return lists[0] if lists else _one_each(data)


def _holds_options(data: Data, name: str) -> bool:
    columns = Columns(options=name)
    return any(len(options) > 1 for options in map(_readable(columns), data.sample))


def _readable(columns: Columns) -> Callable[[Mapping[str, Any]], list[str]]:
    """The options of a row; none where they cannot be read."""

    def found(row: Mapping[str, Any]) -> list[str]:
        try:
            return options_of(row, columns)
        except InputError:
            return []

    return found


def _one_each(data: Data) -> list[str] | None:
    """The columns of one option each, in the order of their letters or numbers."""
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
    read = _readable(Columns(options=names))
    pairs = ((read(row), _truth(row, answer)) for row in data.sample)
    return [(options, truth) for options, truth in pairs if options]


def _truth(row: Mapping[str, Any], answer: str | None) -> str:
    found = bare(value_at(row, answer))
    whole = isinstance(found, float) and found.is_integer()
    return str(int(found) if whole else found).strip()


def _names_one(truth: str, options: Sequence[str]) -> bool:
    """Whether an answer names options by letter, text or number."""
    if truth.isdecimal() and truth not in options:
        return int(truth) <= len(options)
    return bool(letters_of(truth, options))


def letters_of(answer: str, options: Sequence[str]) -> str:
    """The letters of the options that an answer names, as rewards read it; empty for none."""
    return "".join(sorted(letters_in(reference(answer), options)))


def counted_from(data: Data, names: str | list[str], answer: str | None) -> int | None:
    """The number of the first option, where answers are numbers of options; None where not.

    Raises:
        InputError: it may be 0 or 1.
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
    raise InputError(
        f"{data.source}: column {answer!r} holds numbers of options, "
        f"{'0 and the last one' if last else 'and none is 0 or the last one'}: whether they "
        "count from 0 or from 1 is not plain; write letters, or columns: {options: null}"
    )
