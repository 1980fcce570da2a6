"""In which order, and how often, samples are trained. `COMPOSITIONS` names the choices."""

import numpy as np

from vantage.errors import ConfigError
from vantage.methods.ranking import Ranked
from vantage.methods.rollouts import Samples


def in_order(samples: Samples, ranked: Ranked, rng: np.random.Generator) -> Samples:
    """Each sample once, in the order in which the rollouts came, pairs kept together."""
    rows_U = samples.rollout_M.reshape(-1, samples.unit_size)
    order_U = np.argsort(rows_U.min(axis=1), kind="stable")
    return samples.take(_rows(order_U, samples.unit_size))


def advantage_shuffle(
    samples: Samples, ranked: Ranked, rng: np.random.Generator, *, rounds: int = 8
) -> Samples:
    """Advantage-based batch shuffle. Shuffle-R1, https://arxiv.org/abs/2508.05612, sec. 3.

    A unit (a pair, or a single sample) weighs the sum of |across| of its members. Each
    round draws its units without replacement with probabilities proportional to the
    weights; rounds are independent, so a unit can come up to `rounds` times. Where fewer
    units have a weight than a round takes, all of them come, and the rest of the round is
    drawn evenly from the others and marked as filler.

    Args:
        rounds: number of rounds S; their sizes differ by at most one unit, and the number
            of rows stays that of `samples`.
    """
    _check_count("rounds", rounds)
    across_M = np.abs(ranked.advantages.across_N[samples.rollout_M])
    weight_U = across_M.reshape(-1, samples.unit_size).sum(axis=1)
    size_S = np.diff(cuts(len(weight_U), rounds))
    drawn_U = np.concatenate([draw(weight_U, size, rng) for size in size_S])
    drawn_M = _rows(drawn_U, samples.unit_size)
    silent_M = np.repeat(weight_U[drawn_U] == 0, samples.unit_size)
    filler_M = samples.filler_M[drawn_M] | silent_M
    # The part within a prompt can be left where `across` is 0; filler trains nothing.
    advantage_M = np.where(filler_M, 0.0, samples.advantage_M[drawn_M])
    return samples.take(drawn_M, filler_M=filler_M, advantage_M=advantage_M)


def draw(weight_U: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Index of `size` units drawn without replacement, by weight (Gumbel top-k).

    Units without a weight come evenly, after all that have one.
    Source: Kool et al., https://arxiv.org/abs/1903.06059, sec. 2.
    """
    noise_U = rng.gumbel(size=len(weight_U))
    # log of the smallest double is -745, so -2000 puts silent units behind all others.
    log_weight_U = np.log(weight_U, where=weight_U > 0, out=np.full(len(weight_U), -2000.0))
    if size == len(weight_U):
        return np.argsort(-(log_weight_U + noise_U))
    return np.argpartition(-(log_weight_U + noise_U), size)[:size]


def cuts(count: int, parts: int) -> np.ndarray:
    """Where to cut `count` things into `parts` whose sizes differ by at most one.

    Parts nest: the cuts into 8 contain the cuts into 4, so mini-batches cut this way are
    made of whole rounds.
    """
    return np.arange(parts + 1) * count // parts


def update_of(samples: Samples, updates: int) -> np.ndarray:
    """Which of the `updates` optimizer updates trains each sample, units kept whole.

    Returns:
        update_M: 0 ... updates - 1, never decreasing.
    """
    _check_count("updates", updates)
    unit_cuts = cuts(len(samples) // samples.unit_size, updates)
    return np.repeat(np.arange(updates), np.diff(unit_cuts) * samples.unit_size)


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: expected a whole number of at least 1")


def _rows(unit_U: np.ndarray, unit_size: int) -> np.ndarray:
    return (unit_U[:, None] * unit_size + np.arange(unit_size)).reshape(-1)


COMPOSITIONS = {"none": in_order, "advantage-shuffle": advantage_shuffle}
