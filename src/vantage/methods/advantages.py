"""Group-relative advantage estimators. `ESTIMATORS` maps their names to functions.

Where all rewards of a group are equal, or the group has one member, the advantage is
exactly 0. Rewards are compared for equality, since a floating-point mean can differ
from them.
"""

from typing import NamedTuple

import numpy as np

from vantage.methods.rollouts import Rollouts

EPSILON = 1e-6


class Advantages(NamedTuple):
    """The advantage of each rollout, in two parts.

    Attributes:
        across_N: Advantage relative to all rollouts of the question, shape (N,). Ranks the
            rollouts, and applies under every prompt that a response is shared with.
        within_N: Advantage relative to the rollouts of the same prompt, shape (N,). Added
            where a response is trained under the prompt that generated it.
    """

    across_N: np.ndarray
    within_N: np.ndarray


def group_advantage(reward_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    """Compute `(r - mean) / (std + 1e-6)` over each group, with the sample std (n - 1).

    GRPO with outcome supervision, https://arxiv.org/abs/2402.03300, sec. 4.1.2.

    Args:
        reward_N: Finite rewards, shape (N,).
        group_N: Group id of each rollout, shape (N,).

    Returns:
        Advantages, shape (N,).
    """
    index_N, count_G = _groups(group_N)
    centred_N = _centred(reward_N, index_N, count_G)
    square_G = np.bincount(index_N, centred_N**2)
    std_G = np.sqrt(square_G / np.maximum(count_G - 1, 1))
    return centred_N / (std_G + EPSILON)[index_N]


def centred_advantage(reward_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    """Compute `r - mean` over each group.

    Dr.GRPO, https://arxiv.org/abs/2503.20783, sec. 3.2. Arguments and result are those of
    `group_advantage`.
    """
    return _centred(reward_N, *_groups(group_N))


def leave_one_out_advantage(reward_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    """Compute `r - mean of the other rewards` in each group.

    RLOO, https://arxiv.org/abs/2402.14740, eq. 8. Arguments and result are those of
    `group_advantage`.
    """
    index_N, count_G = _groups(group_N)
    # r - (sum - r) / (n - 1) = (r - mean) * n / (n - 1).
    scale_G = count_G / np.maximum(count_G - 1, 1)
    return _centred(reward_N, index_N, count_G) * scale_G[index_N]


def hierarchical_advantage(
    reward_N: np.ndarray, question_N: np.ndarray, prompt_N: np.ndarray
) -> Advantages:
    """Compute z-scores over the question and over the prompt.

    Share-GRPO, https://arxiv.org/abs/2505.16673. Each response counts once in the statistics of
    its question. A question with a single prompt reduces to GRPO: its `within_N` is 0, since it
    would repeat `across_N`.

    Args:
        reward_N: Finite rewards, shape (N,).
        question_N: Question id of each rollout, shape (N,).
        prompt_N: Prompt id of each rollout, shape (N,).
    """
    across_N = group_advantage(reward_N, question_N)
    within_N = group_advantage(reward_N, prompt_N)
    return Advantages(across_N, np.where(_has_one_prompt(question_N, prompt_N), 0.0, within_N))


def extremes(
    value_N: np.ndarray, index_N: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the minimum and maximum of each group.

    Args:
        value_N: Values, shape (N,).
        index_N: Group of each value, shape (N,); every group 0 ... G - 1 occurs.
        groups: Number of groups G.

    Returns:
        Minima and maxima, each of shape (G,).
    """
    value_N = np.asarray(value_N)
    low_G = np.empty(groups, dtype=value_N.dtype)
    low_G[index_N] = value_N  # any member of the group is a valid start for both bounds
    high_G = low_G.copy()
    np.minimum.at(low_G, index_N, value_N)
    np.maximum.at(high_G, index_N, value_N)
    return low_G, high_G


def _groups(group_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, index_N, count_G = np.unique(group_N, return_inverse=True, return_counts=True)
    return index_N, count_G


def _centred(reward_N: np.ndarray, index_N: np.ndarray, count_G: np.ndarray) -> np.ndarray:
    reward_N = np.asarray(reward_N, dtype=np.float64)
    mean_G = np.bincount(index_N, reward_N) / count_G
    low_G, high_G = extremes(reward_N, index_N, len(count_G))
    return np.where((low_G == high_G)[index_N], 0.0, reward_N - mean_G[index_N])


def _has_one_prompt(question_N: np.ndarray, prompt_N: np.ndarray) -> np.ndarray:
    index_N, count_Q = _groups(question_N)
    low_Q, high_Q = extremes(prompt_N, index_N, len(count_Q))
    return (low_Q == high_Q)[index_N]


def group(rollouts: Rollouts) -> Advantages:
    """z-score over all rollouts of a question (GRPO)."""
    return _one_part(group_advantage(rollouts.reward_N, rollouts.question_N))


def centred(rollouts: Rollouts) -> Advantages:
    """Reward minus the mean reward of the question (Dr.GRPO)."""
    return _one_part(centred_advantage(rollouts.reward_N, rollouts.question_N))


def leave_one_out(rollouts: Rollouts) -> Advantages:
    """Reward minus the mean reward of the other rollouts of the question (RLOO)."""
    return _one_part(leave_one_out_advantage(rollouts.reward_N, rollouts.question_N))


def hierarchical(rollouts: Rollouts) -> Advantages:
    """z-score over the question plus z-score over the prompt (Share-GRPO)."""
    return hierarchical_advantage(rollouts.reward_N, rollouts.question_N, rollouts.prompt_N)


def _one_part(across_N: np.ndarray) -> Advantages:
    return Advantages(across_N, np.zeros_like(across_N))


ESTIMATORS = {
    "group": group,
    "centred": centred,
    "leave-one-out": leave_one_out,
    "hierarchical": hierarchical,
}
