"""Statistics of prompt lengths, and the image size at which all prompts fit."""

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
# Smallest useful image, in pixels: 28 x 28 is one token in most models.
SMALLEST = 28 * 28


@dataclass(frozen=True)
class Lengths:
    """Statistics of tokens per row.

    Attributes:
        least, median, p95, most: Statistics over all rows.
        longest: Row number of the longest prompt.
        edges, counts: Histogram, with one more edge than counts.
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
        limit: Maximum tokens of a prompt.
        rows: (row, tokens) pairs, the longest first.
        max_pixels: Largest image size, in pixels, at which all rows except `hopeless` fit; None
            if no row fits.
        hopeless: Rows that do not fit at any image size.
        wordy: Hopeless rows whose text alone is too long.
    """

    limit: int
    rows: list[tuple[int, int]]
    max_pixels: int | None
    hopeless: list[int]
    wordy: list[int] = field(default_factory=list)


def lengths(tokens: ArrayLike, rows: Sequence[int] | np.ndarray) -> Lengths:
    """Compute statistics of tokens per row.

    Args:
        tokens: Token counts, of shape (rows,) with at least one row.
        rows: Row numbers.
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
    """Decides whether the longest prompt of a row fits at a maximum image size.

    Attributes:
        prompts: The rows, and how they become prompts.
        tokenize: Function from prompt to token ids.
        limit: Maximum tokens of a prompt.
    """

    prompts: Prompts
    tokenize: Callable[[Any], list[int]]
    limit: int

    def __call__(self, row: int, max_pixels: int) -> bool:
        """Whether the row at an index fits if its images have at most `max_pixels` pixels."""
        question = self.prompts.longest(self.prompts.rows[row])
        bounds = Bounds(self.prompts.bounds.least, max_pixels)
        return len(self.tokenize(render(bounded(question, bounds)))) <= self.limit

    @property
    def smallest(self) -> int:
        """The smallest useful image size, in pixels."""
        return max(SMALLEST, self.prompts.bounds.least or 0)

    def largest(self, row: int, too_large: int) -> int:
        """The largest size in [`smallest`, `too_large`) at which a row fits, by bisection."""
        low, high = self.smallest, too_large
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self(row, middle) else (low, middle)
        return low


def bounded(question: Question, bounds: Bounds) -> Question:
    """Replace the bounds on a question's images, which are the first step of each image."""
    images = (replace(i, steps=(bounds, *i.steps[1:])) for i in pictures(question))
    return with_pictures(question, images)


def remedy(
    fitting: Fitting, long: Sequence[tuple[int, int]], numbers: Sequence[int] | None = None
) -> LongRows:
    """Find the image size at which long rows fit.

    Bisection finds the size for the longest row. If other rows do not fit at this size, bisection
    continues with the longest of them, and so on.

    Args:
        fitting: Decides whether a row fits.
        long: (index, tokens) pairs of rows that are too long.
        numbers: Row numbers for the report; None to use the indices.
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
    """Rows that do not fit at a maximum image size."""
    fits = over_rows(lambda place: fitting(rows[place], max_pixels), len(rows), "Fitting pictures")
    return [row for row, fit in zip(rows, fits, strict=True) if not fit]


def _most_pixels(fitting: Fitting, row: int) -> int:
    """Pixels of the largest image of a row."""
    images = pictures(fitting.prompts.longest(fitting.prompts.rows[row]))
    sizes = [image.open().size for image in images]
    return max((width * height for width, height in sizes), default=0)
