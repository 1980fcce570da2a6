"""Order and repetition of training samples. `ORDERINGS` maps names to functions."""

from collections.abc import Callable
from numbers import Real

import numpy as np

from vantage.errors import ConfigError, nearest
from vantage.methods.ranking import Ranked
from vantage.methods.rollouts import Samples


def in_order(samples: Samples, ranked: Ranked, rng: np.random.Generator) -> Samples:
    """Train on each sample once, in the order of the rollouts, and keep pairs together."""
    rows_U = samples.rollout_M.reshape(-1, samples.unit_size)
    order_U = np.argsort(rows_U.min(axis=1), kind="stable")
    return samples.take(_rows(order_U, samples.unit_size))


def advantage_shuffle(
    samples: Samples,
    ranked: Ranked,
    rng: np.random.Generator,
    *,
    rounds: int = 8,
    weight: str = "sum",
    shape: str = "power",
    power: float = 1.0,
) -> Samples:
    """Advantage-based batch shuffle. Shuffle-R1, https://arxiv.org/abs/2508.05612, sec. 3.

    A unit is a pair or a single sample. Each round draws units without replacement, with
    probabilities proportional to their shaped weights. Rounds are independent, so a unit can
    occur up to `rounds` times. A unit of weight 0 has probability 0 under every shape. If a
    round takes more units than have a positive weight, it takes all of these, draws the rest
    uniformly from the others, and marks them as padding.

    Args:
        samples: M selected samples.
        ranked: The ranked rollouts that the samples were selected from.
        rng: Source of the draws.
        rounds: Number of rounds S. Their sizes differ by at most one unit and sum to the number
            of units in `samples`.
        weight: Weight w of a unit, from the `across` advantages A of its members: "sum", "max" or
            "mean" of |A|, or the largest "positive" A (0 if there is none).
        shape: Makes probabilities proportional to w^power ("power"), exp(w / T) with
            T = 1 + cos(pi done / 2) ("softmax"), ln(1 + w / T) with T = 1 + sin(pi done / 2)
            ("log"), or 1 / (w + 1e-6) ("inverse"), where `done` is the training progress from 0
            to 1. The paper has "power" with exponent 1; the other shapes are in its code.
        power: Exponent of the shape "power". 0 draws uniformly from all units of positive weight.

    Returns:
        M samples in training order.

    Raises:
        ConfigError: An option is out of range, or `power` is set for another shape.
    """
    _check_count("rounds", rounds)
    _check_shape(weight, shape, power)
    across_M = ranked.advantages.across_N[samples.rollout_M]
    weight_U = WEIGHTS[weight](across_M.reshape(-1, samples.unit_size))
    log_weight_U = np.full(len(weight_U), -np.inf)
    weighs_U = weight_U > 0
    log_weight_U[weighs_U] = SHAPES[shape](weight_U[weighs_U], ranked.done, power)
    size_S = np.diff(cuts(len(weight_U), rounds))
    drawn_U = np.concatenate([draw(log_weight_U, size, rng) for size in size_S])
    drawn_M = _rows(drawn_U, samples.unit_size)
    silent_M = np.repeat(~weighs_U[drawn_U], samples.unit_size)
    padding_M = samples.padding_M[drawn_M] | silent_M
    # Where `across` is 0, `within` need not be; padding must not contribute a gradient.
    advantage_M = np.where(padding_M, 0.0, samples.advantage_M[drawn_M])
    return samples.take(drawn_M, padding_M=padding_M, advantage_M=advantage_M)


def draw(log_weight_U: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw units without replacement with the Gumbel top-k trick.

    Units of weight 0 are drawn uniformly, after all units of positive weight.
    Source: Kool et al., https://arxiv.org/abs/1903.06059, sec. 2.

    Args:
        log_weight_U: Unnormalized log-probabilities, shape (U,); -inf for weight 0.
        size: Number of units to draw, at most U.
        rng: Source of the noise.

    Returns:
        Indices of the drawn units, shape (size,).
    """
    weighs_U = log_weight_U > -np.inf
    lowest = log_weight_U.min(where=weighs_U, initial=0.0)
    # Float64 Gumbel noise lies between -4 and 37, so a gap of 100 separates units of weight 0 from
    # the others. The gap grows with the magnitude, or rounding would swallow the noise.
    behind = lowest - max(100.0, 1e-3 * abs(lowest))
    key_U = -(np.where(weighs_U, log_weight_U, behind) + rng.gumbel(size=len(log_weight_U)))
    return np.argsort(key_U) if size == len(key_U) else np.argpartition(key_U, size)[:size]


def cuts(count: int, parts: int) -> np.ndarray:
    """Boundaries that split `count` items into `parts` whose sizes differ by at most one.

    Boundaries nest: those of 8 parts include those of 4. So a mini-batch consists of whole rounds
    if the number of mini-batches divides that of rounds.

    Returns:
        `parts` + 1 ascending offsets from 0 to `count`.
    """
    return np.arange(parts + 1) * count // parts


def update_of(samples: Samples, updates: int) -> np.ndarray:
    """Assign each sample to one of `updates` optimizer updates, without splitting units.

    Returns:
        Index of the update of each sample, 0 ... updates - 1, nondecreasing, shape (M,).

    Raises:
        ConfigError: `updates` is not a positive integer.
    """
    _check_count("updates", updates)
    unit_cuts = cuts(len(samples) // samples.unit_size, updates)
    return np.repeat(np.arange(updates), np.diff(unit_cuts) * samples.unit_size)


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: expected a whole number of at least 1")


def _check_shape(weight: str, shape: str, power: float) -> None:
    for name, value, known in (("weight", weight, WEIGHTS), ("shape", shape, SHAPES)):
        if value not in known:
            raise ConfigError(f"{name}={value!r}: {nearest(str(value), known)}")
    if isinstance(power, bool) or not isinstance(power, Real) or not 0 <= power < np.inf:
        raise ConfigError(f"power={power!r}: expected a number from 0")
    if shape != "power" and power != 1:
        raise ConfigError(f"power={power!r}: it applies to the shape 'power', not to {shape!r}")


def _rows(unit_U: np.ndarray, unit_size: int) -> np.ndarray:
    return (unit_U[:, None] * unit_size + np.arange(unit_size)).reshape(-1)


def _softmax(weight_U: np.ndarray, done: float, power: float) -> np.ndarray:
    return weight_U / (1 + np.cos(np.pi * done / 2))


def _log(weight_U: np.ndarray, done: float, power: float) -> np.ndarray:
    return np.log(np.log1p(weight_U / (1 + np.sin(np.pi * done / 2))))


# Weight of each unit, from the advantages of its K members.
WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda across_UK: np.abs(across_UK).sum(axis=1),
    "max": lambda across_UK: np.abs(across_UK).max(axis=1),
    "mean": lambda across_UK: np.abs(across_UK).mean(axis=1),
    "positive": lambda across_UK: across_UK.max(axis=1).clip(min=0),
}
# Unnormalized log-probabilities of positive weights. Logarithms keep the exponential from
# overflowing and powers of small weights from underflowing.
SHAPES: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "power": lambda weight_U, done, power: power * np.log(weight_U),
    "softmax": _softmax,
    "log": _log,
    "inverse": lambda weight_U, done, power: -np.log(weight_U + 1e-6),
}
ORDERINGS = {"in-order": in_order, "advantage-shuffle": advantage_shuffle}
