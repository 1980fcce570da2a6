"""Attempts to make share-shuffle learn faster: one small function each, with its source.

Each is a recipe factory, which a configuration names as `study.candidates:...`.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from vantage.methods import Recipe, Rollouts, Samples, recipe
from vantage.methods.advantages import Advantages, extremes, hierarchical
from vantage.methods.ordering import cuts, draw
from vantage.methods.ranking import Ranked

BASE = "share-shuffle"


def tempered(power: float = 0.5) -> Recipe:
    """Raise shuffle weights to a power; 0 draws uniformly. From the code of Shuffle-R1."""
    return recipe(BASE, power=power)


def capped(most: int = 2) -> Recipe:
    """Draw each unit at most `most` times per batch, then add padding. Ours."""
    return replace(recipe(BASE), ordering=functools.partial(_capped, most=most))


def ranged() -> Recipe:
    """Multiply advantages by the range of the rewards of the question.

    From DIVA-GRPO, https://arxiv.org/abs/2603.01106. A group that differs only in format then
    weighs less than one with right and wrong answers.
    """
    return replace(recipe(BASE), estimator=_ranged)


def asymmetric(positive: float = 0.5) -> Recipe:
    """Scale down positive advantages, after A-GRAE, https://arxiv.org/abs/2602.05548."""
    return replace(recipe(BASE), estimator=functools.partial(_asymmetric, positive=positive))


def refilled(refills: int = 3) -> Recipe:
    """Replace silent questions before the plan, as in DAPO, https://arxiv.org/abs/2503.14476."""
    return replace(recipe(BASE), refills=refills)


def once() -> Recipe:
    """Draw every pair with contrast once, without repeats; the last rounds become padding."""
    return replace(recipe(BASE), ordering=functools.partial(_capped, most=1))


def _capped(samples: Samples, ranked: Ranked, rng, *, most: int, rounds: int = 8) -> Samples:
    weight_U = _weights(samples, ranked)
    left_U, picked = np.full(len(weight_U), most), []
    for size in np.diff(cuts(len(weight_U), rounds)):
        weighs_U = (weight_U > 0) & (left_U > 0)
        log_weight_U = np.log(weight_U, where=weighs_U, out=np.full(len(weight_U), -np.inf))
        unit_T = draw(log_weight_U, size, rng)
        left_U[unit_T] -= 1
        picked.append(np.where(left_U[unit_T] < 0, -1, unit_T))
    return _taken(samples, np.concatenate(picked), weight_U)


def _weights(samples: Samples, ranked: Ranked) -> np.ndarray:
    across_M = np.abs(ranked.advantages.across_N[samples.rollout_M])
    return across_M.reshape(-1, samples.unit_size).sum(axis=1)


def _taken(samples: Samples, unit_U: np.ndarray, weight_U: np.ndarray) -> Samples:
    """Take units in order; -1 and units without weight become padding."""
    size = samples.unit_size
    index_M = (np.maximum(unit_U, 0)[:, None] * size + np.arange(size)).reshape(-1)
    silent_M = np.repeat((unit_U < 0) | (weight_U[unit_U] == 0), size)
    advantage_M = np.where(silent_M, 0.0, samples.advantage_M[index_M])
    return samples.take(index_M, padding_M=silent_M, advantage_M=advantage_M)


def _ranged(rollouts: Rollouts) -> Advantages:
    _, index_N = np.unique(rollouts.question_N, return_inverse=True)
    low_Q, high_Q = extremes(rollouts.reward_N, index_N, index_N.max() + 1)
    range_N = (high_Q - low_Q)[index_N]
    return Advantages(*(part_N * range_N for part_N in hierarchical(rollouts)))


def _asymmetric(rollouts: Rollouts, *, positive: float) -> Advantages:
    parts = hierarchical(rollouts)
    return Advantages(*(np.where(part_N > 0, positive * part_N, part_N) for part_N in parts))
