"""Accuracy and pass@k as means over questions, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vantage.errors import InputError


class Estimate(NamedTuple):
    """A mean over questions and its standard error, both between 0 and 1."""

    mean: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval by the normal approximation, clipped to 0 and 1."""
        return max(0.0, self.mean - 1.96 * self.error), min(1.0, self.mean + 1.96 * self.error)


def average(value_Q: np.ndarray, cluster_Q: Sequence[Any] | None = None) -> Estimate:
    """Average a value over questions.

    The standard error is clustered: Miller 2024, https://arxiv.org/abs/2411.00640, eq. 4, with the
    factor C / (C - 1) for C clusters.

    Args:
        value_Q: Value of each question, between -1 and 1.
        cluster_Q: Cluster of each question; questions in different clusters are independent. None
            if all questions are.

    Returns:
        The estimate; its mean is NaN without questions.
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
    """Estimate `part_Q.sum() / whole_Q.sum()`; the standard error is that of the delta method."""
    whole = whole_Q.sum()
    if not whole:
        return Estimate(float("nan"), 0.0)
    share = part_Q.sum() / whole
    rest_Q = part_Q - share * whole_Q
    return Estimate(float(share), float(np.sqrt((rest_Q**2).sum()) / whole))


def pass_at_k(
    right_Q: np.ndarray, samples: int, k: int, cluster_Q: Sequence[Any] | None = None
) -> Estimate:
    """Estimate the probability that at least one of k answers is right, without bias.

    The estimator for a question is 1 - C(n - c, k) / C(n, k): Chen et al.,
    https://arxiv.org/abs/2107.03374, eq. 1. pass@1 is the accuracy.

    Args:
        right_Q: Number of right answers to each question, c.
        samples: Number of answers to each question, n.
        k: Between 1 and n.
        cluster_Q: Cluster of each question; see `average`.

    Raises:
        InputError: If there are no questions, or k is out of range.
    """
    right_Q = np.asarray(right_Q)
    if not len(right_Q) or not 1 <= k <= samples:
        raise InputError(
            f"pass@{k} of {len(right_Q)} questions with {samples} answers each: "
            "expected at least one question and k from 1 to the number of answers"
        )
    wrong_Q = samples - right_Q
    # C(n - c, k) / C(n, k) as a product of k factors, which does not overflow.
    place_K = np.arange(samples - k + 1, samples + 1)
    missed_QK = np.clip(1 - right_Q[:, None] / place_K, 0, None)
    return average(np.where(wrong_Q < k, 1.0, 1.0 - missed_QK.prod(axis=1)), cluster_Q)
