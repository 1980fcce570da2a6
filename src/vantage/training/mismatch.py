"""Mismatch between the log-probs of sampler and trainer, and when a mismatch must end a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vantage.errors import EngineError
from vantage.training.versions import version_of

logger = logging.getLogger(__name__)

# A mismatch beyond the limit ends the run only in the first rollout batches of a process.
FIRST_BATCHES = 3
# Limits of the mean |difference| of log-probs; see `judge`.
LIMIT_FLOAT32 = 1e-3
LIMIT_ROUNDED = 0.1


@dataclass(frozen=True)
class Mismatch:
    """Difference between sampler and trainer on the same sampled tokens.

    Attributes:
        kl: KL(sampler || trainer) in nats by the k3 estimator, the mean of r - 1 - log r with
            log r = trainer - sampler (Schulman, "Approximating KL divergence", 2020).
        difference: Mean |trainer - sampler|, in nats.
        largest_ratio: Maximum of exp |trainer - sampler|.
        tokens: Number of compared tokens. If it is 0, the other attributes are NaN.
    """

    kl: float
    difference: float
    largest_ratio: float
    tokens: int

    def metrics(self) -> dict[str, float]:
        """Metrics to log; empty if no token was compared."""
        if not self.tokens:
            return {}
        return {
            "sampler/kl": self.kl,
            "sampler/difference": self.difference,
            "sampler/largest_ratio": self.largest_ratio,
        }


def mismatch(trainer_T: np.ndarray, sampler_T: np.ndarray) -> Mismatch:
    """Compare log-probs of the same tokens under the same prompts.

    Args:
        trainer_T: Log-probs by the trainer of all counted response tokens, under the weights
            that sampled them, shape (T,).
        sampler_T: Log-probs of the same tokens as reported by the sampler, shape (T,).

    Raises:
        ValueError: The arrays differ in length.
    """
    trainer_T, sampler_T = (np.asarray(a, dtype=np.float64) for a in (trainer_T, sampler_T))
    if trainer_T.shape != sampler_T.shape or trainer_T.ndim != 1:
        raise ValueError(
            f"log-probs of shapes {trainer_T.shape} and {sampler_T.shape}; expected (T,) twice"
        )
    if not len(trainer_T):
        return Mismatch(math.nan, math.nan, math.nan, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        log_ratio_T = trainer_T - sampler_T
        distance_T = np.abs(log_ratio_T)
        return Mismatch(
            kl=float(np.mean(np.expm1(log_ratio_T) - log_ratio_T)),
            difference=float(distance_T.mean()),
            largest_ratio=float(np.exp(distance_T.max())),
            tokens=len(trainer_T),
        )


def pooled(parts: Sequence[Mismatch]) -> Mismatch:
    """Combine the mismatches of several processes, weighted by their tokens."""
    seen = [part for part in parts if part.tokens]
    if not seen:
        return Mismatch(math.nan, math.nan, math.nan, 0)
    tokens = [part.tokens for part in seen]
    return Mismatch(
        kl=float(np.average([part.kl for part in seen], weights=tokens)),
        difference=float(np.average([part.difference for part in seen], weights=tokens)),
        largest_ratio=float(np.max([part.largest_ratio for part in seen])),
        tokens=sum(tokens),
    )


def renormalisation(
    top_p: float = 1.0, top_k: int | None = None, min_p: float | None = None
) -> float:
    """Bound in nats on how far a healthy sampler's log-probs can exceed the trainer's.

    A sampler that drops the tail renormalizes by the remaining mass. With `top_p` this mass is at
    least `top_p`, so log-probs rise by at most -log(top_p). `top_k` and `min_p` give no bound.
    """
    if (top_k or 0) > 0 or (min_p or 0) > 0:
        return math.inf
    return -math.log(top_p)


def judge(found: Mismatch, *, float32: bool, slack: float = 0.0) -> str | None:
    """Describe a mismatch that is too large; None for that of a healthy run.

    In a healthy run, the two implementations of the same weights differ only by rounding. In
    float32 on both sides, the mean difference was 1e-6, while an off-by-one in the positions of a
    tiny model gave 0.021; the limit is 0.001. In bfloat16 (relative spacing 2^-8), it was 0.005
    to 0.03, while images seen twice or stale weights in the sampler gave 1.1 to 1.3; the limit is
    0.1. Faults below the noise of bfloat16 go undetected.

    Args:
        found: The mismatch of a rollout batch.
        float32: Whether sampler and trainer both compute in float32, without TF32.
        slack: Nats by which the sampler may be higher on every token; see `renormalisation`.
    """
    limit = (LIMIT_FLOAT32 if float32 else LIMIT_ROUNDED) + slack
    if not found.tokens or found.difference <= limit:  # NaN fails
        return None
    return (
        f"the log-probs of sampler and trainer differ by {found.difference:.3g} on average over "
        f"{found.tokens} sampled tokens (largest ratio {found.largest_ratio:.3g}); a healthy run "
        f"stays below {limit:.3g}"
    )


def verdict(reason: str, *, family: str, packages: Sequence[str], remedy: str) -> str:
    """Build the error message that ends a run with a mismatch.

    Args:
        reason: Description from `judge`.
        family: `model_type` of the model's configuration.
        packages: Distributions whose versions to name; those not installed are omitted.
        remedy: Advice on which options of the engine to set.
    """
    versions = ", ".join(f"{name} {found}" for name in packages if (found := version_of(name)))
    return (
        f"{reason}. The sampler does not match the trained model: models of type {family!r} do "
        f"not work with {versions}, or not with these options. {remedy}"
    )


@dataclass
class Canary:
    """Ends a run in its first rollout batches if the sampler does not match the trained model.

    Attributes:
        float32: Whether sampler and trainer both compute in float32, without TF32.
        slack: Nats by which the sampler may be higher on every token; see `renormalisation`.
        family: Returns `model_type` of the model's configuration.
        packages: Distributions whose versions the error names.
        remedy: Advice on which options of the engine to set.
        compared: Number of rollout batches that this process has compared.
    """

    float32: bool
    slack: float
    family: Callable[[], str]
    packages: Sequence[str]
    remedy: str
    compared: int = 0

    @property
    def is_due(self) -> bool:
        """Whether a mismatch would still end the run."""
        return self.compared < FIRST_BATCHES

    def take(self, found: Mismatch) -> None:
        """Judge the mismatch of a rollout batch; after the first batches, only log a warning.

        Raises:
            EngineError: The mismatch is too large; names the model's family, the versions and
                what to set.
        """
        reason = judge(found, float32=self.float32, slack=self.slack)
        due, self.compared = self.is_due, self.compared + bool(found.tokens)
        if reason and due:
            family, packages, remedy = self.family(), self.packages, self.remedy
            raise EngineError(verdict(reason, family=family, packages=packages, remedy=remedy))
        if reason:
            logger.warning(reason)
