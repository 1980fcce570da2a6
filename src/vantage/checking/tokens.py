"""Lengths of prompts, and the size of pictures with which all prompts fit."""

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
# The smallest useful picture: 28 x 28 pixels are one token of most models.
SMALLEST = 28 * 28


@dataclass(frozen=True)
class Lengths:
    """Statistics of tokens per row.

    Attributes:
        least, median, p95, most: over all rows.
        longest: number of the row with the most tokens.
        edges, counts: of the histogram; there is one edge more than counts.
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
    """Rows whose longest prompt exceeds the limit.

    Attributes:
        limit: in tokens.
        rows: (row, tokens), the longest first.
        max_pixels: the largest bound with which all rows fit but the hopeless ones; None if all
            are hopeless.
        hopeless: rows that are too long however small their pictures are.
        wordy: hopeless rows whose text alone is too long.
    """

    limit: int
    rows: list[tuple[int, int]]
    max_pixels: int | None
    hopeless: list[int]
    wordy: list[int] = field(default_factory=list)


def lengths(tokens: ArrayLike, rows: Sequence[int] | np.ndarray) -> Lengths:
    """Statistics of tokens per row.

    Args:
        tokens: of each row; at least one row.
        rows: numbers of the rows.
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
    """Whether the longest prompt of a row fits, with a bound on its pictures.

    Attributes:
        prompts: the rows.
        tokenize: prompt -> ids.
        limit: in tokens.
    """

    prompts: Prompts
    tokenize: Callable[[Any], list[int]]
    limit: int

    def __call__(self, row: int, max_pixels: int) -> bool:
        """Whether the row at an index fits if its pictures have at most `max_pixels`."""
        question = self.prompts.longest(self.prompts.rows[row])
        bounds = Bounds(self.prompts.bounds.least, max_pixels)
        return len(self.tokenize(render(bounded(question, bounds)))) <= self.limit

    @property
    def smallest(self) -> int:
        """The smallest useful bound, in pixels."""
        return max(SMALLEST, self.prompts.bounds.least or 0)

    def largest(self, row: int, too_large: int) -> int:
        """The largest bound below `too_large` with which a row fits; it fits with the smallest."""
        low, high = self.smallest, too_large
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self(row, middle) else (low, middle)
        return low


def bounded(question: Question, bounds: Bounds) -> Question:
    """The question with other bounds on its pictures; bounds are the first step of a picture."""
    images = (replace(i, steps=(bounds, *i.steps[1:])) for i in pictures(question))
    return with_pictures(question, images)


def remedy(
    fitting: Fitting, long: Sequence[tuple[int, int]], numbers: Sequence[int] | None = None
) -> LongRows:
    """What would make long rows fit.

    The bound of the longest row is found by bisection. The other rows are tried with this bound;
    the longest of those that do not fit is next.

    Args:
        fitting: decides whether a row fits.
        long: (index, tokens) of rows that are too long.
        numbers: of the rows, for the report; None for their indices.
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
    """Rows that do not fit with a bound."""
    fits = over_rows(lambda place: fitting(rows[place], max_pixels), len(rows), "Fitting pictures")
    return [row for row, fit in zip(rows, fits, strict=True) if not fit]


def _most_pixels(fitting: Fitting, row: int) -> int:
    """Pixels of the largest picture of a row."""
    images = pictures(fitting.prompts.longest(fitting.prompts.rows[row]))
    sizes = [image.open().size for image in images]
    return max((width * height for width, height in sizes), default=0)
