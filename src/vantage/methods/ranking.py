"""Ranks rollouts within their question, the input of all selections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vantage.methods.advantages import Advantages
from vantage.methods.rollouts import Rollouts, Samples


@dataclass(frozen=True, eq=False)
class Ranked:
    """Rollouts grouped by question and sorted from best to worst within it.

    Arrays named `*_R` have shape (N,) and are in this sorted order; `rollouts` and `advantages`
    keep their original order.

    Attributes:
        rollouts: The N rollouts.
        advantages: Advantages of the rollouts.
        row_R: Row of `rollouts` at each place.
        question_R: Index of the question, 0, 1, 2...
        rank_R: Rank within the question; 0 is the best.
        size_R: Number of rollouts of the question.
        done: Training progress, from 0 to 1.
    """

    rollouts: Rollouts
    advantages: Advantages
    row_R: np.ndarray
    question_R: np.ndarray
    rank_R: np.ndarray
    size_R: np.ndarray
    done: float = 0.0

    def samples(self, chosen: np.ndarray, pair_M: np.ndarray | None = None) -> Samples:
        """Build samples from the `chosen` places, each under the prompt that generated it.

        Args:
            chosen: Mask or indices into the `*_R` arrays, M places.
            pair_M: Pair id of each sample, shape (M,); None for unpaired samples.
        """
        row_M = self.row_R[chosen]
        across_N, within_N = self.advantages
        return Samples(
            prompt_M=self.rollouts.prompt_N[row_M],
            rollout_M=row_M,
            advantage_M=(across_N + within_N)[row_M],
            pair_M=np.full(len(row_M), -1) if pair_M is None else pair_M,
            padding_M=np.zeros(len(row_M), dtype=bool),
            weight_M=np.ones(len(row_M)),
        )


def rank(
    rollouts: Rollouts, advantages: Advantages, rng: np.random.Generator, done: float = 0.0
) -> Ranked:
    """Sort rollouts by question, then by descending `across` advantage, with random ties.

    Ties are common, since rewards are nearly binary. Breaking them by row would favour some
    prompts of a question over others, so the rows are shuffled first.
    """
    _, question_N = np.unique(rollouts.question_N, return_inverse=True)
    shuffled_N = rng.permutation(len(rollouts))
    order = np.lexsort((-advantages.across_N[shuffled_N], question_N[shuffled_N]))
    row_R = shuffled_N[order]
    question_R = question_N[row_R]
    size_Q = np.bincount(question_R)
    rank_R, size_R = rank_in_group(question_R), size_Q[question_R]
    return Ranked(rollouts, advantages, row_R, question_R, rank_R, size_R, done)


def rank_in_group(group_R: np.ndarray) -> np.ndarray:
    """Position of each row within its group, where rows are sorted by group 0, 1, 2..."""
    size_G = np.bincount(group_R)
    return np.arange(len(group_R)) - np.repeat(np.cumsum(size_G) - size_G, size_G)
