"""Reward for a number close to the reference."""

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

# Relative to the reference; section 5.1 of ChartQA, https://arxiv.org/abs/2203.10244
TOLERANCE = 0.05
# What `float` accepts, so no commas, with an optional percent sign.
DECIMAL = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)(%?)", re.ASCII)


def numeric(completions: list, answer: list[str], **columns) -> list[float]:
    r"""Return 1.0 where the last `\boxed{...}` is within 5 % of the reference number, else 0.0.

    If both have a unit, the units must agree. If the reference is not a number, the answer must
    match it word for word.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(near(boxed(text(completion)), str(truth))) for completion, truth in pairs]


def near(given: str | None, truth: str, tolerance: float = TOLERANCE) -> bool:
    """Return whether an answer is a number close to the reference; False for an answer of None.

    Args:
        given: An answer.
        truth: A number with or without a unit, or any text.
        tolerance: Largest difference, as a fraction of the reference.
    """
    truth = reference(truth)
    wanted = quantity(plain(truth))
    if wanted is None or expressions.number(wanted.number) is None:
        return alike(given, truth)
    number = quantity(plain(given)) if given and len(given) <= LONGEST else None
    return number is not None and _within(number, wanted, tolerance)


def value(answer: str) -> Fraction | None:
    """Return the number in an answer, without its unit; None if the answer is not a number."""
    found = quantity(plain(answer)) if len(answer) <= LONGEST else None
    number = None if found is None else expressions.number(found.number)
    if number is None or isinstance(number, Fraction):
        return number
    try:
        return Fraction(float(number))
    except (TypeError, OverflowError, ValueError):  # a complex number, or too large for a float
        return None


def _within(number: Quantity, wanted: Quantity, tolerance: float) -> bool:
    value, aim = expressions.number(number.number), expressions.number(wanted.number)
    if value is None:
        return False
    return any(close(value, aim, tolerance, scale) for scale in scales(number, wanted))


def close(number: Any, wanted: Any, tolerance: float, scale: Fraction = Fraction(1)) -> bool:
    """Return whether `scale * number` is within `tolerance * |wanted|` of `wanted`."""
    part = _fraction(tolerance)
    if isinstance(number, Fraction) and isinstance(wanted, Fraction):
        return abs(number * scale - wanted) <= part * abs(wanted)
    try:
        one, other = complex(number) * float(scale), complex(wanted)
        apart, most = abs(one - other), part * abs(other)
    except OverflowError:  # a number or its absolute value is too large for a float
        return False
    return math.isfinite(most) and apart <= most


@functools.cache
def _fraction(tolerance: float) -> Fraction:
    return Fraction(tolerance).limit_denominator(10**6)


def relaxed(given: str | None, truth: str, tolerance: float = TOLERANCE) -> bool:
    """Return ChartQA's relaxed accuracy, as it is commonly computed.

    A number may differ by 5 % and "45%" is read as 0.45. Units and commas are not removed. Any
    other reference, and a reference of 0, must match as a string, ignoring case.

    Args:
        given: An answer; None if the response has none.
        truth: The reference.
        tolerance: Largest difference, as a fraction of the reference.
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
