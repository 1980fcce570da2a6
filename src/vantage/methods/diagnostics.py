"""Metrics of how a plan uses its rollouts."""

import numpy as np

from vantage.methods.advantages import extremes, group_advantage
from vantage.methods.rollouts import Rollouts, Samples

QUANTILES = (10, 50, 90)
NEAR_ZERO = 0.1


def diagnose(rollouts: Rollouts, samples: Samples, *, right: float = 0.5) -> dict[str, float]:
    """Measure advantage collapsing, rollout silencing, and where the gradient comes from.

    Args:
        rollouts: N rollouts.
        samples: The plan made from them.
        right: Reward above which an answer counts as right.

    Returns:
        Metric name -> value. Shares lie between 0 and 1. "before" refers to the given rollouts
        with the GRPO advantage, without those that refilling replaced; "after" refers to the
        trained samples without padding.

        - rollouts, questions, samples: counts; samples exclude padding.
        - padding: number of padding samples.
        - silent_questions: share of questions whose rewards are all equal.
        - all_correct, all_incorrect: share of questions that are all right, or all wrong.
        - silent_rollouts: share of rollouts whose advantage is exactly 0.
        - silent_samples: share of trained samples whose advantage is exactly 0.
        - useful_rollouts: number of rollouts trained at least once with a nonzero advantage;
            useful_share: their share of all rollouts.
        - dropped_rollouts: share of rollouts that are never trained.
        - collapse_before, collapse_after: share with |advantage| < 0.1.
        - abs_advantage_before_p10 (p50, p90), abs_advantage_after_p10 (p50, p90):
            quantiles of |advantage|.
        - distinct_samples: number of distinct trained (prompt, rollout) pairs.
        - repeats: mean number of times a distinct sample is trained; max_repeats: the maximum.
        - shared_samples: share of samples under a prompt that did not generate them.
        - contrast: mean |difference| of advantage between the halves of a pair; 0 without pairs.
    """
    advantage_N = group_advantage(rollouts.reward_N, rollouts.question_N)
    trained = samples.take(~samples.padding_M)
    return {
        "rollouts": len(rollouts),
        "samples": len(trained),
        "padding": len(samples) - len(trained),
        **_questions(rollouts, right),
        "silent_rollouts": _mean(advantage_N == 0),
        "silent_samples": _mean(trained.advantage_M == 0),
        **_use(rollouts, trained),
        **_distribution("before", np.abs(advantage_N)),
        **_distribution("after", np.abs(trained.advantage_M)),
        "contrast": _contrast(trained),
    }


def _questions(rollouts: Rollouts, right: float) -> dict[str, float]:
    _, index_N, size_Q = np.unique(rollouts.question_N, return_inverse=True, return_counts=True)
    low_Q, high_Q = extremes(rollouts.reward_N, index_N, len(size_Q))
    return {
        "questions": len(size_Q),
        "silent_questions": _mean(low_Q == high_Q),
        "all_correct": _mean(low_Q > right),
        "all_incorrect": _mean(high_Q <= right),
    }


def _use(rollouts: Rollouts, trained: Samples) -> dict[str, float]:
    useful = len(np.unique(trained.rollout_M[trained.advantage_M != 0]))
    _, prompt_M = np.unique(trained.prompt_M, return_inverse=True)
    _, times = np.unique(prompt_M * len(rollouts) + trained.rollout_M, return_counts=True)
    return {
        "useful_rollouts": useful,
        "useful_share": useful / len(rollouts),
        "dropped_rollouts": 1 - len(np.unique(trained.rollout_M)) / len(rollouts),
        "distinct_samples": len(times),
        "repeats": _mean(times),
        "max_repeats": int(times.max(initial=0)),
        "shared_samples": _mean(trained.prompt_M != rollouts.prompt_N[trained.rollout_M]),
    }


def _distribution(when: str, magnitude: np.ndarray) -> dict[str, float]:
    values = np.percentile(magnitude, QUANTILES) if len(magnitude) else np.zeros(len(QUANTILES))
    names = [f"abs_advantage_{when}_p{q}" for q in QUANTILES]
    return {f"collapse_{when}": _mean(magnitude < NEAR_ZERO)} | {
        name: float(value) for name, value in zip(names, values, strict=True)
    }


def _contrast(trained: Samples) -> float:
    if not len(trained) or trained.unit_size == 1:
        return 0.0
    halves = trained.advantage_M.reshape(-1, 2)
    return _mean(np.abs(halves[:, 0] - halves[:, 1]))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0
