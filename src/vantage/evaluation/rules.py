"""Published rules by which benchmarks decide whether an answer is right.

A rule takes a question and the final answer of a response, or None if it has none. It returns
True, False, or None for an unclear answer, which `Benchmark.unclear` decides.
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

LONGEST = 1_000  # characters of an answer that are inspected
COMPARED = 200  # characters of an answer whose edit distance to the options is computed
NUMBER = re.compile(rf"(?:(?<![\d)])[+-])?{DIGITS}(?:[eE][+-]?\d{{1,2}})?", re.ASCII)
WORD = re.compile(r"[a-z]+")


def mathematics(item: Item, given: str | None) -> bool:
    """Return whether the accuracy reward accepts the answer: units, fractions, letters, words."""
    return correct(given, item.reference)


def option(item: Item, given: str | None) -> bool:
    """Return whether the answer is the letter, the text or the unique value of the right option."""
    return chosen(given, item.reference, item.options)


def option_or_mathematics(item: Item, given: str | None) -> bool:
    """Apply `option` to a question with options, `mathematics` to any other."""
    return option(item, given) if item.options else mathematics(item, given)


def math_vision(item: Item, given: str | None) -> bool:
    """Apply `option_or_mathematics`, then compare numbers to two decimals, as MATH-Vision does.

    The rounding is that of `is_equal` in MATH-Vision's code.
    """
    if option_or_mathematics(item, given):
        return True
    number, wanted = value(given or ""), value(item.reference)
    if item.options or number is None or wanted is None:
        return False
    return round(number, 2) == round(wanted, 2)


def math_vista(item: Item, given: str | None) -> bool:
    """Compare by the type of the answer, as MathVista normalizes extracted answers.

    An answer to a question with options counts as the most similar option. Integers are
    truncated, decimals rounded to `precision`, and lists compared by their numbers.
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
    """Return whether any reference matches by ChartQA's relaxed accuracy."""
    references = item.row.get("label") or [item.reference]
    found = [references] if isinstance(references, str) else references
    return any(relaxed(given, str(reference)) for reference in found)


def yes_or_no(item: Item, given: str | None) -> bool | None:
    """Compare yes and no; an answer with neither or both is unclear."""
    said = {"yes", "no"} & set(WORD.findall(plain((given or "")[:LONGEST]).casefold()))
    return item.reference in said if len(said) == 1 else None


def mmmu(item: Item, given: str | None) -> bool:
    """Apply MMMU's rule: the option, or for an open question a reference inside the answer.

    Numbers are compared to two decimals. An answer that names no option is wrong; MMMU's own code
    draws a random option for it.
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
    except InputError:  # an interval, not a list
        several = [written]
    return [plain(one).casefold() for one in several]


def numbers(answer: str) -> list[Fraction]:
    """Return all numbers in a text, in order."""
    found = NUMBER.findall(plain(answer[:LONGEST]))
    return [
        Fraction(one.replace(",", "").rstrip(".")) for one in found if any(map(str.isdigit, one))
    ]


def one_number(answer: str) -> Fraction | None:
    """Return the number in an answer; None if it is neither a quantity nor has a single number."""
    found = value(answer)
    if found is not None:
        return found
    several = numbers(answer)
    return several[0] if len(several) == 1 else None


def nearest(given: str, options: tuple[str, ...]) -> str:
    """Return the letter of the option that an answer names, else of the most similar option."""
    named = letter(given, options)
    if named is not None:
        return named
    answer = plain(given[:COMPARED])
    apart = [distance(answer, choice[:COMPARED]) for choice in options]
    return LETTERS[apart.index(min(apart))]


def distance(one: str, other: str) -> int:
    """Return the Levenshtein distance between two texts."""
    before = list(range(len(other) + 1))
    for row, left in enumerate(one, start=1):
        now = [row]
        for column, right in enumerate(other, start=1):
            change = before[column - 1] + (left != right)
            now.append(min(before[column] + 1, now[-1] + 1, change))
        before = now
    return before[-1]
