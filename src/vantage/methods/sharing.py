"""Choice of the prompts that a response is trained under. `SHARINGS` maps names to functions."""

import numpy as np

from vantage.methods.ranking import Ranked, rank_in_group
from vantage.methods.rollouts import Samples


def own_prompt(samples: Samples, ranked: Ranked) -> Samples:
    """Train on every response under the prompt that generated it."""
    return samples


def all_prompts(samples: Samples, ranked: Ranked) -> Samples:
    """Train on every response under every prompt of its question.

    The objective of Share-GRPO, https://arxiv.org/abs/2505.16673. A sample under the prompt that
    generated it keeps its advantage; under any other prompt it has the `across` part alone. The
    objective sums over n rollouts per prompt, V prompts and V conditions, and divides by n V^2,
    so that all questions have the same weight. With the mean n of the batch factored out, a
    sample has weight 1/V^2 if all prompts have the same number of rollouts.

    Returns:
        M * V samples. A pair becomes one pair per prompt, with both halves under that prompt.
    """
    prompt_P, first_P, count_Q = _prompts_by_question(ranked)
    question_N = np.empty(len(ranked.row_R), dtype=np.int64)
    question_N[ranked.row_R] = ranked.question_R
    question_M = question_N[samples.rollout_M]

    each_Q = np.bincount(ranked.question_R) / count_Q
    weight_Q = len(ranked.row_R) / len(prompt_P) / (each_Q * count_Q**2)

    # Copy `nth` of a sample goes under the nth prompt of its question. Sorting by unit, then nth,
    # keeps the halves of a pair adjacent.
    copy = np.repeat(np.arange(len(samples)), count_Q[question_M])
    nth = rank_in_group(copy)
    unit = np.arange(len(samples)) // samples.unit_size
    order = np.lexsort((copy, nth, unit[copy]))
    copy, nth = copy[order], nth[order]

    prompt_M = prompt_P[first_P[question_M[copy]] + nth]
    shared_M = prompt_M != samples.prompt_M[copy]
    across_M = ranked.advantages.across_N[samples.rollout_M[copy]]
    pair_M = np.arange(len(copy)) // 2 if samples.unit_size == 2 else samples.pair_M[copy]
    return samples.take(
        copy,
        prompt_M=prompt_M,
        advantage_M=np.where(shared_M, across_M, samples.advantage_M[copy]),
        pair_M=pair_M,
        weight_M=samples.weight_M[copy] * weight_Q[question_M[copy]],
    )


def original_prompt(samples: Samples, ranked: Ranked) -> Samples:
    """Train on every response under the original prompt of its question, the one of lowest id.

    NoisyRollout, https://arxiv.org/abs/2504.13055, sec. 3, generates responses on noisy images
    too, and trains on all of them with the clean image. A sample that changes its prompt has the
    `across` part alone as its advantage.
    """
    prompt_P, first_P, _ = _prompts_by_question(ranked)
    question_N = np.empty(len(ranked.row_R), dtype=np.int64)
    question_N[ranked.row_R] = ranked.question_R
    original_M = prompt_P[first_P[question_N[samples.rollout_M]]]
    moved_M = original_M != samples.prompt_M
    across_M = ranked.advantages.across_N[samples.rollout_M]
    return samples.take(
        np.arange(len(samples)),
        prompt_M=original_M,
        advantage_M=np.where(moved_M, across_M, samples.advantage_M),
    )


def _prompts_by_question(ranked: Ranked) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompt ids sorted by question, the offset of each question, and its number of prompts."""
    prompt_P, row_P = np.unique(ranked.rollouts.prompt_N[ranked.row_R], return_index=True)
    question_P = ranked.question_R[row_P]
    count_Q = np.bincount(question_P)
    return prompt_P[np.argsort(question_P, kind="stable")], np.cumsum(count_Q) - count_Q, count_Q


SHARINGS = {
    "own-prompt": own_prompt,
    "all-prompts": all_prompts,
    "original-prompt": original_prompt,
}
