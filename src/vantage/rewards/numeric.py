"""Whether an answer is about the number that the reference is."""

import functools
import math
import re
from fractions import Fraction
from typing import Any

from vantage.rewards import expressions
from vantage.rewards.notation import LONGEST, plain
from vantage.rewards.references import reference
from vantage.rewards.string import alike
from vantage.rewards.text import boxed, text
from vantage.rewards.values import Quantity, quantity, scales

# Of the reference: section 5.1 of ChartQA, https://arxiv.org/abs/2203.10244
TOLERANCE = 0.05
# As `float` reads it, so without commas, and a sign of percent.
DECIMAL = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)(%?)", re.ASCII)


def numeric(completions: list, answer: list[str], **columns) -> list[float]:
    r"""1.0 where the last `\boxed{...}` is within 5 % of the reference number, else 0.0.

    Units have to agree where both have some; a reference that is no number has to be met
    word for word.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(near(boxed(text(completion)), str(truth))) for completion, truth in pairs]


def near(given: str | None, truth: str, tolerance: float = TOLERANCE) -> bool:
    """Whether an answer, None where there is none, is a number that is close to the reference.

    Args:
        given: an answer.
        truth: a number with or without a unit, or any text.
        tolerance: greatest difference, in parts of the reference.
    """
    truth = reference(truth)
    wanted = quantity(plain(truth))
    if wanted is None or expressions.number(wanted.number) is None:
        return alike(given, truth)
    number = quantity(plain(given)) if given and len(given) <= LONGEST else None
    return number is not None and _within(number, wanted, tolerance)


def value(answer: str) -> Fraction | None:
    """The number that an answer is, whatever its unit; None where it is none."""
    found = quantity(plain(answer)) if len(answer) <= LONGEST else None
    number = None if found is None else expressions.number(found.number)
    if number is None or isinstance(number, Fraction):
        return number
    try:
        return Fraction(float(number))
    except (TypeError, OverflowError, ValueError):  # complex, or too large
        return None


def _within(number: Quantity, wanted: Quantity, tolerance: float) -> bool:
    value, aim = expressions.number(number.number), expressions.number(wanted.number)
    if value is None:
        return False
    return any(close(value, aim, tolerance, scale) for scale in scales(number, wanted))


def close(number: Any, wanted: Any, tolerance: float, scale: Fraction = Fraction(1)) -> bool:
    """Whether `scale` times a number is within a part of another one, of which it is measured."""
    part = _fraction(tolerance)
    if isinstance(number, Fraction) and isinstance(wanted, Fraction):
        return abs(number * scale - wanted) <= part * abs(wanted)
    try:
        one, other = complex(number) * float(scale), complex(wanted)
        apart, most = abs(one - other), part * abs(other)
    except OverflowError:  # a number, or its absolute value, beyond what a float holds
        return False
    return math.isfinite(most) and apart <= most


@functools.cache
def _fraction(tolerance: float) -> Fraction:
    return Fraction(tolerance).limit_denominator(10**6)


def relaxed(given: str | None, truth: str, tolerance: float = TOLERANCE) -> bool:
    """ChartQA's relaxed accuracy, as it is commonly computed.

    Numbers may be 5 % off, "45%" is 0.45, units and commas are not taken off, and anything
    else, a reference of 0 too, has to be the same text without case.

    Args:
        given: an answer, None where there is none.
        truth: the reference.
        tolerance: greatest difference, in parts of the reference.
    """
    if given is None:
        return False
    answer, reference = plain(given), plain(truth)
    number, wanted = _decimal(answer), _decimal(reference)
    if number is not None and wanted:
        return close(number, wanted, tolerance)
    return answer.casefold() == reference.casefold()


def _decimal(answer: str) -> Fraction | None:
    found = DECIMAL.fullmatch(answer)
    return Fraction(found[1]) / (100 if found[2] else 1) if found else None
