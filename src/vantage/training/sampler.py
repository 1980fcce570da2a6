"""How far a sampler's log-probs are from the trainer's, and how far is too far."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from vantage.errors import EngineError

logger = logging.getLogger(__name__)

# Rollout batches of a process in which a mismatch beyond the limit ends the run.
FIRST_BATCHES = 3
# Limits of the mean |difference| of log-probs; `judge` says why.
LIMIT_FLOAT32 = 1e-3
LIMIT_ROUNDED = 0.1


@dataclass(frozen=True)
class Mismatch:
    """Sampler against trainer on the same sampled tokens, in nats.

    Attributes:
        kl: KL(sampler || trainer), by the k3 estimator: mean of r - 1 - log r,
            log r = trainer - sampler (Schulman, "Approximating KL divergence", 2020).
        difference: mean |trainer - sampler|.
        largest_ratio: largest exp |trainer - sampler|.
        tokens: how many were compared. Where there were none the other three are NaN.
    """

    kl: float
    difference: float
    largest_ratio: float
    tokens: int

    def metrics(self) -> dict[str, float]:
        """What is logged each batch; nothing where no token was compared."""
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
        trainer_T: log-probs that the trainer computed, one for each counted token of all
            responses, by the weights that sampled them.
        sampler_T: those that the sampler reported.

    Raises:
        ValueError: the arrays differ in length.
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
    """The mismatch over the tokens of several processes."""
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
    """Nats by which a healthy sampler's log-probs may exceed the trainer's.

    A sampler that drops the tail divides by the mass that it keeps. `top_p` keeps at least
    `top_p`, so log-probs rise by at most -log(top_p); `top_k` and `min_p` have no such bound.
    """
    if (top_k or 0) > 0 or (min_p or 0) > 0:
        return math.inf
    return -math.log(top_p)


def judge(found: Mismatch, *, float32: bool, slack: float = 0.0) -> str | None:
    """What is wrong with a mismatch, or None where it is that of a healthy run.

    The same weights in two implementations differ by rounding alone. In float32 on both sides
    that was 1e-6 on average; an off-by-one in the positions of a tiny model gave 0.021, so the
    limit is 0.001. In bfloat16 (a step of 2^-8) healthy runs are at 0.005 to 0.03, and pictures
    that the sampler sees twice or from old weights at 1.1 to 1.3, so the limit is 0.1. Faults
    below the noise of bfloat16 pass.

    Args:
        found: the mismatch of a rollout batch.
        float32: whether sampler and trainer both compute in float32, without TF32.
        slack: nats by which the sampler may be higher on every token, see `renormalisation`.
    """
    limit = (LIMIT_FLOAT32 if float32 else LIMIT_ROUNDED) + slack
    if not found.tokens or found.difference <= limit:  # NaN is beyond any limit
        return None
    return (
        f"the log-probs of sampler and trainer differ by {found.difference:.3g} on average over "
        f"{found.tokens} sampled tokens (largest ratio {found.largest_ratio:.3g}); a healthy run "
        f"stays below {limit:.3g}"
    )


def verdict(reason: str, *, family: str, packages: Sequence[str], remedy: str) -> str:
    """The error of a run that is stopped: what differs, for which model, with what, what to do.

    Args:
        reason: of `judge`.
        family: `model_type` of the model's configuration.
        packages: distributions whose versions are named; those not installed are left out.
        remedy: what to set, in the words of the engine.
    """
    versions = ", ".join(f"{name} {found}" for name in packages if (found := _version(name)))
    return (
        f"{reason}. The sampler does not see what is trained: models of type {family!r} do not "
        f"work with {versions}, or not with these options. {remedy}"
    )


class Canary:
    """Ends a run whose sampler does not see what is trained, in its first rollout batches.

    Args:
        float32: whether sampler and trainer both compute in float32, without TF32.
        slack: nats by which the sampler may be higher on every token, see `renormalisation`.
        family: `model_type` of the model's configuration.
        packages: distributions that errors name with their versions.
        remedy: what to set, in the words of the engine.
    """

    def __init__(
        self, *, float32: bool, slack: float, family: str, packages: Sequence[str], remedy: str
    ):
        self.slack = slack
        self._judge = functools.partial(judge, float32=float32, slack=slack)
        self._error = functools.partial(verdict, family=family, packages=packages, remedy=remedy)
        self._compared = 0

    @property
    def is_due(self) -> bool:
        """Whether a mismatch would still end the run."""
        return self._compared < FIRST_BATCHES

    @property
    def is_first(self) -> bool:
        """Whether no rollout batch of this process was compared yet."""
        return not self._compared

    def take(self, found: Mismatch) -> None:
        """Judge the mismatch of a rollout batch, see `judge`; later ones are logged alone.

        Raises:
            EngineError: it is too large; names the model's family, the versions and what to set.
        """
        reason, due = self._judge(found), self.is_due
        self._compared += bool(found.tokens)
        if reason and due:
            raise EngineError(self._error(reason))
        if reason:
            logger.warning(reason)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
