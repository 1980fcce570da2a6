"""Rollouts in the one order that all selections work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vantage.methods.advantages import Advantages
from vantage.methods.rollouts import Rollouts, Samples


@dataclass(frozen=True, eq=False)
class Ranked:
    """Rollouts question by question, the best of each question first.

    Arrays that end in R are aligned with each other, not with the rows of `rollouts`.

    Attributes:
        rollouts: the rows as they came.
        advantages: of the rows as they came.
        row_R: row of `rollouts` in each place.
        question_R: index of its question, 0, 1, 2...
        rank_R: place within its question, 0 is the best.
        size_R: number of rollouts of its question.
        done: share of the training that is done, 0 to 1.
    """

    rollouts: Rollouts
    advantages: Advantages
    row_R: np.ndarray
    question_R: np.ndarray
    rank_R: np.ndarray
    size_R: np.ndarray
    done: float = 0.0

    def samples(self, chosen: np.ndarray, pair_M: np.ndarray | None = None) -> Samples:
        """Samples of the `chosen` places (mask or index), each under its own prompt."""
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
    """Order rollouts by question, then by `across`, best first, ties at random.

    Ties are the normal case with nearly binary rewards. Broken by row they would
    favour some prompts of a question over others, so the rows are shuffled first.
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
    """Place of each row within its group, for groups 0, 1, 2... that stand in one piece."""
    size_G = np.bincount(group_R)
    return np.arange(len(group_R)) - np.repeat(np.cumsum(size_G) - size_G, size_G)
