"""Accuracy and pass@k from right answers per question, with intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vantage.errors import InputError


class Estimate(NamedTuple):
    """A mean over questions with its standard error; both between 0 and 1."""

    mean: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, normal approximation, within 0 and 1."""
        return max(0.0, self.mean - 1.96 * self.error), min(1.0, self.mean + 1.96 * self.error)


def pass_at_k(right_Q: np.ndarray, samples: int, k: int) -> Estimate:
    """Chance that at least one of k answers is right, without bias.

    1 - C(n - c, k) / C(n, k) of each question: Chen et al., https://arxiv.org/abs/2107.03374,
    eq. 1. pass@1 is the accuracy.

    Args:
        right_Q: right answers of each question, c.
        samples: answers asked of each question, n.
        k: between 1 and n.

    Raises:
        InputError: no questions, or k out of range.
    """
    right_Q = np.asarray(right_Q)
    if not len(right_Q) or not 1 <= k <= samples:
        raise InputError(
            f"pass@{k} of {len(right_Q)} questions with {samples} answers each: "
            "expected at least one question and k from 1 to the number of answers"
        )
    wrong_Q = samples - right_Q
    place_K = np.arange(samples - k + 1, samples + 1)
    missed_QK = np.clip(1 - right_Q[:, None] / place_K, 0, None)
    chance_Q = np.where(wrong_Q < k, 1.0, 1.0 - missed_QK.prod(axis=1))
    deviation = chance_Q.std(ddof=1) if len(chance_Q) > 1 else 0.0
    return Estimate(float(chance_Q.mean()), float(deviation / np.sqrt(len(chance_Q))))
