"""What is read off the curves of accuracy against what was spent.

Arrays end in their axes: S seeds, B points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

DRAWS = 2_000  # of a bootstrap


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Accuracy of one training against what was spent, rising, from 0.

    Attributes:
        spent_B: rollouts, samples, updates or seconds.
        accuracy_B: between 0 and 1.
    """

    spent_B: np.ndarray
    accuracy_B: np.ndarray

    def at(self, budget: float) -> float:
        """Accuracy at a budget, between points on a line; the last one beyond the end."""
        return float(np.interp(budget, self.spent_B, self.accuracy_B))


@dataclass(frozen=True)
class Curves:
    """Several trainings at equal shares of what each spent in the end.

    Attributes:
        total_S: what each spent in the end.
        accuracy_SB: accuracy of each at shares from 0 to 1, evenly spaced.
    """

    total_S: np.ndarray
    accuracy_SB: np.ndarray

    def mean(self, seeds: np.ndarray | None = None) -> Curve:
        """Their mean curve, or that of some of them by index, repeats counting as often."""
        rows = np.arange(len(self.total_S)) if seeds is None else seeds
        accuracy_B = self.accuracy_SB[rows].mean(axis=0)
        return Curve(np.linspace(0, self.total_S[rows].mean(), len(accuracy_B)), accuracy_B)


def together(curves: Sequence[Curve], points: int = 51) -> Curves:
    """Trainings side by side, between their points on lines."""
    share_B = np.linspace(0, 1, points)
    total_S = np.array([curve.spent_B[-1] for curve in curves])
    accuracy_SB = [np.interp(share_B * c.spent_B[-1], c.spent_B, c.accuracy_B) for c in curves]
    return Curves(total_S, np.array(accuracy_SB))


def reached(curve: Curve, target: float) -> float:
    """What was spent when the accuracy first came to the target; infinity if it never did."""
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
    """What an arm spends to learn so much of what the base learns, in what the base spends on it.

    For all of its gain the base spends its whole budget, even if noise took it over the line
    earlier.

    Args:
        arm, base: mean curves, since single trainings cross a line by chance.
        part: of the gain of the base from its start to its end, 0 to 1.
    """
    start, end = base.accuracy_B[0], base.accuracy_B[-1]
    target = start + part * (end - start)
    whole = base.spent_B[-1] if part == 1 else reached(base, target)
    return reached(arm, target) / float(whole)


def mean(value_S: Sequence[float]) -> Interval:
    """Mean over seeds with Student's interval, which is wide where seeds are few."""
    value_S = np.asarray(value_S, dtype=float)
    centre = float(value_S.mean())
    if len(value_S) < 2:
        return Interval(centre, float("nan"), float("nan"))
    half = stats.t.ppf(0.975, len(value_S) - 1) * value_S.std(ddof=1) / np.sqrt(len(value_S))
    return Interval(centre, centre - half, centre + half)


def difference(arm_S: Sequence[float], base_S: Sequence[float]) -> Interval:
    """Mean difference of two arms, seed by seed."""
    return mean(np.asarray(arm_S) - np.asarray(base_S))


def bootstrap(statistic: Callable[[np.ndarray], float], seeds: int) -> Interval:
    """A statistic of all seeds, with the 2.5 and 97.5 % quantiles over seeds drawn again.

    Args:
        statistic: takes the index of the seeds to use; may be infinite.
        seeds: how many there are.
    """
    rng = np.random.default_rng(0)
    drawn = np.array([statistic(rng.integers(seeds, size=seeds)) for _ in range(DRAWS)])
    # Without interpolation, which would make NaN of two infinities.
    low, high = np.quantile(drawn, (0.025, 0.975), method="closest_observation")
    return Interval(statistic(np.arange(seeds)), float(low), float(high))


def modelled_seconds(
    rollouts: np.ndarray, samples: np.ndarray, distinct: np.ndarray, generation: float
) -> np.ndarray:
    """Time where generation costs what it costs on a GPU server, in batches of plain GRPO.

    A batch of GRPO costs 1, of which `generation` is for its rollouts; the rest goes in
    proportion to rows: a forward and a backward (as long as two) for each sample trained, and
    a forward for the old log-probs of each distinct one.

    Args:
        rollouts, samples, distinct: in rollouts of a batch, so 1 each for a batch of GRPO.
        generation: between 0 and 1.
    """
    return generation * rollouts + (1 - generation) * (3 * samples + distinct) / 4
