"""What was tried to make share-shuffle learn faster: one small function each, with its source.

Each is a factory that a configuration names as `study.candidates:...`.
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
    """Weights of the shuffle to a power: 0 draws evenly. The official code of Shuffle-R1 has it."""
    return recipe(BASE, power=power)


def capped(most: int = 2) -> Recipe:
    """No unit more than so many times in a batch; where none is left, padding. Ours."""
    return replace(recipe(BASE), ordering=functools.partial(_capped, most=most))


def ranged() -> Recipe:
    """Advantages times the range of the rewards of the question.

    DIVA-GRPO, https://arxiv.org/abs/2603.01106: a group that differs in format alone no longer
    weighs as much as one with right and wrong answers.
    """
    return replace(recipe(BASE), estimator=_ranged)


def asymmetric(positive: float = 0.5) -> Recipe:
    """Positive advantages weakened, after A-GRAE, https://arxiv.org/abs/2602.05548."""
    return replace(recipe(BASE), estimator=functools.partial(_asymmetric, positive=positive))


def refilled(refills: int = 3) -> Recipe:
    """Silent questions are replaced before the plan, as DAPO does, 2503.14476."""
    return replace(recipe(BASE), refills=refills)


def once() -> Recipe:
    """Every pair of contrast once, and no repeats; the last rounds run dry and are padding."""
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
    """Units in order, -1 and those without a weight as padding."""
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
