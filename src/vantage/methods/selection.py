"""Selection of the rollouts to train on. `SELECTIONS` maps names to functions.

A selection takes the ranked rollouts and a random generator, and returns samples under
the prompts that generated them. Advantages remain those of the full group.
"""

from numbers import Real

import numpy as np

from vantage.errors import ConfigError
from vantage.methods.ranking import Ranked, rank_in_group
from vantage.methods.rollouts import Samples


def keep_all(ranked: Ranked, rng: np.random.Generator) -> Samples:
    """Keep every rollout once."""
    return ranked.samples(np.arange(len(ranked.row_R)))


def pairwise(ranked: Ranked, rng: np.random.Generator, *, fraction: float = 0.5) -> Samples:
    """Pairwise trajectory sampling. Shuffle-R1, https://arxiv.org/abs/2508.05612, sec. 3.

    Pairs the i-th best rollout of a question with the i-th worst, which gives K pairs of 2K
    rollouts, and keeps the max(1, floor(fraction * K)) pairs of largest contrast. The middle
    rollout of an odd group has no partner and is dropped, and so is a group of one.

    Args:
        ranked: The ranked rollouts.
        rng: Unused.
        fraction: Share of the pairs to keep, in (0, 1].

    Returns:
        Samples pair by pair, the better half first.
    """
    place_R = np.minimum(ranked.rank_R, ranked.size_R - 1 - ranked.rank_R)
    pairs_R = ranked.size_R // 2
    chosen = np.flatnonzero(place_R < np.minimum(pairs_R, _share(fraction, pairs_R, at_least=1)))
    is_worse = ranked.rank_R[chosen] != place_R[chosen]
    chosen = chosen[np.lexsort((is_worse, place_R[chosen], ranked.question_R[chosen]))]
    return ranked.samples(chosen, pair_M=np.arange(len(chosen)) // 2)


def non_zero(ranked: Ranked, rng: np.random.Generator) -> Samples:
    """Keep questions whose rewards differ. DAPO, https://arxiv.org/abs/2503.14476, sec. 3.2."""
    reward_R = ranked.rollouts.reward_N[ranked.row_R]
    start_Q = np.flatnonzero(ranked.rank_R == 0)
    spread_Q = np.maximum.reduceat(reward_R, start_Q) > np.minimum.reduceat(reward_R, start_Q)
    return ranked.samples(spread_Q[ranked.question_R])


def max_variance(ranked: Ranked, rng: np.random.Generator, *, fraction: float = 0.25) -> Samples:
    """Keep the rollouts of maximal reward variance. PODS, https://arxiv.org/abs/2504.13818, sec. 3.

    The optimum always consists of the i best and the k - i worst rollouts for some i. So every
    i is evaluated, for all questions at once, with prefix sums.

    Args:
        ranked: The ranked rollouts.
        rng: Unused.
        fraction: Share of a question's rollouts to keep, in (0, 1]; at least two are kept.
    """
    start_Q = np.flatnonzero(ranked.rank_R == 0)
    size_Q = ranked.size_R[start_Q]
    kept_Q = np.minimum(size_Q, _share(fraction, size_Q, at_least=2))
    best_Q = _best_of_split(ranked, start_Q, size_Q, kept_Q)
    worst_R = ranked.size_R - (kept_Q - best_Q)[ranked.question_R]
    return ranked.samples((ranked.rank_R < best_Q[ranked.question_R]) | (ranked.rank_R >= worst_R))


def random(ranked: Ranked, rng: np.random.Generator, *, fraction: float = 0.5) -> Samples:
    """Keep a random share of each question's rollouts, at least one. A baseline."""
    return _first(ranked, rng.random(len(ranked.row_R)), fraction)


def top_magnitude(ranked: Ranked, rng: np.random.Generator, *, fraction: float = 0.5) -> Samples:
    """Keep each question's rollouts of largest |advantage|, at least one. A baseline."""
    return _first(ranked, -np.abs(ranked.advantages.across_N[ranked.row_R]), fraction, rng)


def _first(
    ranked: Ranked, key_R: np.ndarray, fraction: float, rng: np.random.Generator | None = None
) -> Samples:
    tie_R = ranked.rank_R if rng is None else rng.random(len(key_R))
    order = np.lexsort((tie_R, key_R, ranked.question_R))
    kept = rank_in_group(ranked.question_R) < _share(fraction, ranked.size_R, at_least=1)
    return ranked.samples(np.sort(order[kept]))


def _best_of_split(
    ranked: Ranked, start_Q: np.ndarray, size_Q: np.ndarray, kept_Q: np.ndarray
) -> np.ndarray:
    """How many of a question's kept rollouts are its best ones, at maximal variance."""
    reward_R = ranked.rollouts.reward_N[ranked.row_R]
    low_Q, high_Q = (f.reduceat(reward_R, start_Q) for f in (np.minimum, np.maximum))
    # Scale rewards to [0, 1] per question. Prefix sums run over all questions, so large rewards of
    # one would cancel the digits of another.
    range_Q = np.where(high_Q > low_Q, high_Q - low_Q, 1.0)
    shifted_R = (reward_R - low_Q[ranked.question_R]) / range_Q[ranked.question_R]
    # I enumerates the candidates: kept_Q + 1 splits (0 ... k best) of each question.
    question_I = np.repeat(np.arange(len(start_Q)), kept_Q + 1)
    best_I = rank_in_group(question_I)
    start_I, stop_I = start_Q[question_I], (start_Q + size_Q)[question_I]
    top_I, bottom_I = start_I + best_I, stop_I - (kept_Q[question_I] - best_I)

    def kept_sum(value_R):
        total = np.concatenate([[0.0], np.cumsum(value_R)])
        return total[top_I] - total[start_I] + total[stop_I] - total[bottom_I]

    variance_I = kept_sum(shifted_R**2) - kept_sum(shifted_R) ** 2 / kept_Q[question_I]
    order = np.lexsort((best_I, -variance_I, question_I))
    return best_I[order][best_I == 0]


def _share(fraction: float, count, *, at_least: int) -> np.ndarray:
    """`max(at_least, floor(fraction * count))`, robust to rounding of the product."""
    if not isinstance(fraction, Real) or not 0 < fraction <= 1:
        raise ConfigError(f"fraction={fraction!r}: expected a share above 0 and up to 1")
    return np.maximum(at_least, np.floor(fraction * np.asarray(count) + 1e-9).astype(np.int64))


SELECTIONS = {
    "all": keep_all,
    "pairwise": pairwise,
    "non-zero": non_zero,
    "max-variance": max_variance,
    "random": random,
    "top-magnitude": top_magnitude,
}
