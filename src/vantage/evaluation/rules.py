"""Whether an answer is right, by the published rule of a benchmark.

A rule takes the question and the answer that a response ends with, None without one, and
tells right, wrong, or None for unclear, which counts as the benchmark has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

from vantage.errors import InputError
from vantage.evaluation.items import Item
from vantage.questions.schema import texts
from vantage.rewards.accuracy import correct
from vantage.rewards.choice import chosen, letter
from vantage.rewards.notation import DIGITS, plain
from vantage.rewards.numeric import relaxed, value
from vantage.rewards.values import LETTERS

Rule: TypeAlias = Callable[[Item, str | None], bool | None]

LONGEST = 1_000  # characters of an answer that are looked at
COMPARED = 200  # characters of an answer that are compared with options letter by letter
NUMBER = re.compile(
    rf"(?:(?<![\d)])[+-])?{DIGITS}(?:[eE][+-]?\d{{1,2}})?",
    re.ASCII,
)
WORD = re.compile(r"[a-z]+")


def mathematics(item: Item, given: str | None) -> bool:
    """The same by the accuracy reward: units, fractions, letters, words, math-verify."""
    return correct(given, item.reference)


def option(item: Item, given: str | None) -> bool:
    """The letter of the right option, its text, or its value where no other has it."""
    return chosen(given, item.reference, item.options)


def option_or_mathematics(item: Item, given: str | None) -> bool:
    """`option` where there are options, `mathematics` where not."""
    return option(item, given) if item.options else mathematics(item, given)


def math_vision(item: Item, given: str | None) -> bool:
    """As `option_or_mathematics`, numbers rounded to two decimals; MATH-Vision's `is_equal`."""
    if option_or_mathematics(item, given):
        return True
    number, wanted = value(given or ""), value(item.reference)
    if item.options or number is None or wanted is None:
        return False
    return round(number, 2) == round(wanted, 2)


def math_vista(item: Item, given: str | None) -> bool:
    """By the type of the answer, as MathVista normalises what it has extracted.

    The option that is most alike; whole numbers cut off; decimals rounded to `precision`;
    lists by their numbers.
    """
    if given is None:
        return False
    if item.options:
        return nearest(given, item.options) == item.reference
    kind = item.row.get("answer_type")
    if kind == "list":
        return numbers(given) == numbers(item.reference)
    wanted = one_number(item.reference)
    if kind not in ("integer", "float") or wanted is None:
        return correct(given, item.reference)
    number = one_number(given)
    if number is None:
        return False
    if kind == "integer":
        return int(number) == int(wanted)
    places = int(item.row.get("precision") or 0)
    return round(number, places) == round(wanted, places)


def chart_qa(item: Item, given: str | None) -> bool:
    """ChartQA's relaxed accuracy, against any of the references."""
    references = item.row.get("label") or [item.reference]
    found = [references] if isinstance(references, str) else references
    return any(relaxed(given, str(reference)) for reference in found)


def yes_or_no(item: Item, given: str | None) -> bool | None:
    """Yes or no; unclear where the answer says neither, or both."""
    said = {"yes", "no"} & set(WORD.findall(plain((given or "")[:LONGEST]).casefold()))
    return item.reference in said if len(said) == 1 else None


def mmmu(item: Item, given: str | None) -> bool:
    """MMMU's rule: the option, or for open questions a number or a text that is in the answer.

    Numbers count to two decimals. An answer without a letter is wrong, where MMMU's own code
    draws one.
    """
    if item.options:
        return option(item, given)
    if given is None:
        return False
    answer = plain(given[:LONGEST]).casefold()
    found = {round(number, 2) for number in numbers(answer)}
    for reference in _references(item.reference):
        if NUMBER.fullmatch(reference):
            there = round(numbers(reference)[0], 2) in found
        else:
            there = bool(re.search(rf"(?<!\w){re.escape(reference)}(?!\w)", answer))
        if there:
            return True
    return False


def _references(written: str) -> list[str]:
    try:
        several = texts(written, "answer") if written.startswith("[") else [written]
    except InputError:  # an interval
        several = [written]
    return [plain(one).casefold() for one in several]


def numbers(answer: str) -> list[Fraction]:
    """All numbers in a text, in order."""
    found = NUMBER.findall(plain(answer[:LONGEST]))
    return [
        Fraction(one.replace(",", "").rstrip(".")) for one in found if any(map(str.isdigit, one))
    ]


def one_number(answer: str) -> Fraction | None:
    """The number that an answer is, with or without a unit, or the only one in it."""
    found = value(answer)
    if found is not None:
        return found
    several = numbers(answer)
    return several[0] if len(several) == 1 else None


def nearest(given: str, options: tuple[str, ...]) -> str:
    """The letter of the option that an answer names, or that is most alike."""
    named = letter(given, options)
    if named is not None:
        return named
    answer = plain(given[:COMPARED])
    apart = [distance(answer, choice[:COMPARED]) for choice in options]
    return LETTERS[apart.index(min(apart))]


def distance(one: str, other: str) -> int:
    """Insertions, deletions and exchanges of letters between two texts (Levenshtein)."""
    before = list(range(len(other) + 1))
    for row, left in enumerate(one, start=1):
        now = [row]
        for column, right in enumerate(other, start=1):
            change = before[column - 1] + (left != right)
            now.append(min(before[column] + 1, now[-1] + 1, change))
        before = now
    return before[-1]
