"""Measures on curves of accuracy against cost.

Arrays end in their axes: S seeds, B points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

DRAWS = 2_000  # bootstrap samples


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Accuracy of one training against cost.

    Attributes:
        spent_B: Cost in rollouts, samples, updates or seconds; increasing from 0.
        accuracy_B: Accuracy between 0 and 1.
    """

    spent_B: np.ndarray
    accuracy_B: np.ndarray

    def at(self, budget: float) -> float:
        """Accuracy at a budget, interpolated linearly; beyond the end, the last accuracy."""
        return float(np.interp(budget, self.spent_B, self.accuracy_B))


@dataclass(frozen=True)
class Curves:
    """Several trainings at equal shares of their total cost.

    Attributes:
        total_S: Total cost of each.
        accuracy_SB: Accuracy of each at evenly spaced shares from 0 to 1.
    """

    total_S: np.ndarray
    accuracy_SB: np.ndarray

    def mean(self, seeds: np.ndarray | None = None) -> Curve:
        """Mean curve of all trainings, or of those at `seeds`, which may repeat."""
        rows = np.arange(len(self.total_S)) if seeds is None else seeds
        accuracy_B = self.accuracy_SB[rows].mean(axis=0)
        return Curve(np.linspace(0, self.total_S[rows].mean(), len(accuracy_B)), accuracy_B)


def together(curves: Sequence[Curve], points: int = 51) -> Curves:
    """Resample trainings to equal shares of their cost, by linear interpolation."""
    share_B = np.linspace(0, 1, points)
    total_S = np.array([curve.spent_B[-1] for curve in curves])
    accuracy_SB = [np.interp(share_B * c.spent_B[-1], c.spent_B, c.accuracy_B) for c in curves]
    return Curves(total_S, np.array(accuracy_SB))


def reached(curve: Curve, target: float) -> float:
    """Cost at which the accuracy first reaches the target; infinity if it never does."""
    there = np.flatnonzero(curve.accuracy_B >= target)
    if not len(there):
        return float("inf")
    if there[0] == 0:
        return float(curve.spent_B[0])
    before, after = there[0] - 1, there[0]
    rise = curve.accuracy_B[after] - curve.accuracy_B[before]
    part = (target - curve.accuracy_B[before]) / rise
    return float(curve.spent_B[before] + part * (curve.spent_B[after] - curve.spent_B[before]))


def share_to_reach(arm: Curve, base: Curve, part: float = 1.0) -> float:
    """Cost for an arm to reach a part of the gain of the base, relative to the cost for the base.

    For its whole gain, the cost of the base is its whole budget, even if noise lifted its curve
    above the target earlier.

    Args:
        arm, base: Mean curves, since single trainings reach a target by chance.
        part: Part of the gain of the base from start to end, 0 to 1.
    """
    start, end = base.accuracy_B[0], base.accuracy_B[-1]
    target = start + part * (end - start)
    whole = base.spent_B[-1] if part == 1 else reached(base, target)
    return reached(arm, target) / float(whole)


def mean(value_S: Sequence[float]) -> Interval:
    """Mean over seeds with Student's interval, which is wide for few seeds."""
    value_S = np.asarray(value_S, dtype=float)
    centre = float(value_S.mean())
    if len(value_S) < 2:
        return Interval(centre, float("nan"), float("nan"))
    half = stats.t.ppf(0.975, len(value_S) - 1) * value_S.std(ddof=1) / np.sqrt(len(value_S))
    return Interval(centre, centre - half, centre + half)


def difference(arm_S: Sequence[float], base_S: Sequence[float]) -> Interval:
    """Mean difference of two arms, paired by seed."""
    return mean(np.asarray(arm_S) - np.asarray(base_S))


def bootstrap(statistic: Callable[[np.ndarray], float], seeds: int) -> Interval:
    """A statistic of all seeds, with the 2.5 and 97.5 % quantiles over resampled seeds.

    Args:
        statistic: Function of the indices of the seeds to use; may return infinity.
        seeds: Number of seeds.
    """
    rng = np.random.default_rng(0)
    drawn = np.array([statistic(rng.integers(seeds, size=seeds)) for _ in range(DRAWS)])
    # Interpolation would turn two infinities into NaN.
    low, high = np.quantile(drawn, (0.025, 0.975), method="closest_observation")
    return Interval(statistic(np.arange(seeds)), float(low), float(high))


def modelled_seconds(
    rollouts: np.ndarray, samples: np.ndarray, distinct: np.ndarray, generation: float
) -> np.ndarray:
    """Modelled time on a GPU server, in batches of plain GRPO.

    A batch of GRPO costs 1, of which `generation` is for its rollouts. The rest is proportional to
    rows: a forward and a backward pass (twice as long) per trained sample, and a forward pass per
    distinct sample for its old log-probs.

    Args:
        rollouts, samples, distinct: Numbers divided by the rollouts of a batch, so 1 each for a
            batch of GRPO.
        generation: Share of generation, between 0 and 1.
    """
    return generation * rollouts + (1 - generation) * (3 * samples + distinct) / 4
