"""How long prompts are, and how small pictures must be for all of them to fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vantage.questions.parallel import over_rows
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import Prompts
from vantage.questions.schema import Question, pictures, render, with_pictures

BINS = 12
# Less is no picture: a square of 28 pixels is one token of most models.
SMALLEST = 28 * 28


@dataclass(frozen=True)
class Lengths:
    """Tokens a row, summed up.

    Attributes:
        least, median, p95, most: of all rows.
        longest: the row with most.
        edges, counts: of the histogram; one edge more than counts.
    """

    least: int
    median: float
    p95: float
    most: int
    longest: int
    edges: list[int]
    counts: list[int]


@dataclass(frozen=True)
class LongRows:
    """Rows whose longest prompt is over the limit.

    Attributes:
        limit: in tokens.
        rows: (row, tokens), the longest first.
        max_pixels: the largest bound with which all others than the hopeless ones fit; None
            when there are none.
        hopeless: rows that stay too long however small their pictures are.
        wordy: those of them whose text alone is too long.
    """

    limit: int
    rows: list[tuple[int, int]]
    max_pixels: int | None
    hopeless: list[int]
    wordy: list[int] = field(default_factory=list)


def lengths(tokens: ArrayLike, rows: Sequence[int] | np.ndarray) -> Lengths:
    """The lengths of some rows, summed up.

    Args:
        tokens: of each row, at least one row.
        rows: their numbers.
    """
    token_Q = np.asarray(tokens)
    low, high = int(token_Q.min()), int(token_Q.max())
    width = max(1, -(-(high + 1 - low) // BINS))
    edges = list(range(low, high + width + 1, width))
    counts, _ = np.histogram(token_Q, edges)
    return Lengths(
        low,
        float(np.median(token_Q)),
        float(np.percentile(token_Q, 95)),
        high,
        int(rows[int(token_Q.argmax())]),
        edges,
        counts.tolist(),
    )


@dataclass(frozen=True)
class Fitting:
    """Whether the longest prompt of a row fits, its pictures under some bound.

    Attributes:
        prompts: the rows.
        tokenize: prompt -> ids.
        limit: in tokens.
    """

    prompts: Prompts
    tokenize: Callable[[Any], list[int]]
    limit: int

    def __call__(self, row: int, max_pixels: int) -> bool:
        """Whether it does."""
        question = self.prompts.longest(self.prompts.rows[row])
        bounds = Bounds(self.prompts.bounds.least, max_pixels)
        return len(self.tokenize(render(bounded(question, bounds)))) <= self.limit

    @property
    def smallest(self) -> int:
        """The smallest bound that makes sense."""
        return max(SMALLEST, self.prompts.bounds.least or 0)

    def largest(self, row: int, too_large: int) -> int:
        """The largest bound with which a row fits that fits under the smallest one."""
        low, high = self.smallest, too_large
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self(row, middle) else (low, middle)
        return low


def bounded(question: Question, bounds: Bounds) -> Question:
    """The question with other bounds for its pictures than those that are its first step."""
    images = (replace(i, steps=(bounds, *i.steps[1:])) for i in pictures(question))
    return with_pictures(question, images)


def remedy(
    fitting: Fitting, long: Sequence[tuple[int, int]], numbers: Sequence[int] | None = None
) -> LongRows:
    """What would bring long rows under the limit.

    The worst row is bisected; the others are tried with what it allows, and the worst of those
    that are still too long is next.

    Args:
        fitting: of the rows.
        long: (row, tokens) of those that are too long.
        numbers: what each row is called in the report; None for its place.
    """
    found = [*sorted(long, key=lambda row: -row[1])]
    waiting = [row for row, _ in found]
    hopeless = _too_long(fitting, waiting, fitting.smallest)
    waiting = [row for row in waiting if row not in set(hopeless)]
    allowed = None
    while waiting:
        too_large = _most_pixels(fitting, waiting[0]) if allowed is None else allowed
        allowed = fitting.largest(waiting[0], too_large)
        waiting = _too_long(fitting, waiting[1:], allowed)
    called = range(len(fitting.prompts.rows)) if numbers is None else numbers
    return LongRows(
        fitting.limit,
        [(called[row], tokens) for row, tokens in found],
        allowed,
        [called[row] for row in hopeless],
    )


def _too_long(fitting: Fitting, rows: Sequence[int], max_pixels: int) -> list[int]:
    """Those of some rows that do not fit under a bound."""
    fits = over_rows(lambda place: fitting(rows[place], max_pixels), len(rows), "Fitting pictures")
    return [row for row, fit in zip(rows, fits, strict=True) if not fit]


def _most_pixels(fitting: Fitting, row: int) -> int:
    """The pixels of the row's largest picture, as it is too large now."""
    images = pictures(fitting.prompts.longest(fitting.prompts.rows[row]))
    sizes = [image.open().size for image in images]
    return max((width * height for width, height in sizes), default=0)
