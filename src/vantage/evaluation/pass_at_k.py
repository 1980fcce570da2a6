"""Means over questions, accuracy and pass@k, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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


def average(value_Q: np.ndarray, cluster_Q: Sequence[Any] | None = None) -> Estimate:
    """Mean of a value of each question.

    The error takes questions of one cluster as one draw: Miller 2024,
    https://arxiv.org/abs/2411.00640, eq. 4, with C / (C - 1) for C clusters.

    Args:
        value_Q: between -1 and 1.
        cluster_Q: anything that questions share that are not independent; None for none.
    """
    value_Q = np.asarray(value_Q, dtype=float)
    if not len(value_Q):
        return Estimate(float("nan"), 0.0)
    mean = value_Q.mean()
    ids_Q = np.arange(len(value_Q)) if cluster_Q is None else np.asarray(cluster_Q, dtype=object)
    _, place_Q = np.unique(ids_Q.astype(str), return_inverse=True)
    sum_C = np.bincount(place_Q, weights=value_Q - mean)
    if len(sum_C) < 2:
        return Estimate(float(mean), 0.0)
    spread = (sum_C**2).sum() * len(sum_C) / (len(sum_C) - 1)
    return Estimate(float(mean), float(np.sqrt(spread) / len(value_Q)))


def ratio(part_Q: np.ndarray, whole_Q: np.ndarray) -> Estimate:
    """Share of a part in a whole that are both counted on every question; by linearisation."""
    whole = whole_Q.sum()
    if not whole:
        return Estimate(float("nan"), 0.0)
    share = part_Q.sum() / whole
    rest_Q = part_Q - share * whole_Q
    return Estimate(float(share), float(np.sqrt((rest_Q**2).sum()) / whole))


def pass_at_k(
    right_Q: np.ndarray, samples: int, k: int, cluster_Q: Sequence[Any] | None = None
) -> Estimate:
    """Chance that at least one of k answers is right, without bias.

    1 - C(n - c, k) / C(n, k) of each question: Chen et al., https://arxiv.org/abs/2107.03374,
    eq. 1. pass@1 is the accuracy.

    Args:
        right_Q: right answers of each question, c.
        samples: answers asked of each question, n.
        k: between 1 and n.
        cluster_Q: as of `average`.

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
    return average(np.where(wrong_Q < k, 1.0, 1.0 - missed_QK.prod(axis=1)), cluster_Q)
