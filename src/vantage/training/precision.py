"""Precision of weights and forward passes, and whether optimizer steps are lost to rounding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from vantage.config import Config
from vantage.errors import ConfigError

# Explicit bits of the significand, and the exponent of the smallest normal number.
FORMATS = {"float32": (23, -126), "bfloat16": (7, -126), "float16": (10, -14)}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# A run stops with an error if a step changes a smaller share of the weights.
ENOUGH = 0.9
# Standard deviation of matrices if the model's configuration has no `initializer_range`.
USUAL_SPREAD = 0.02

# AdamW for bfloat16 weights. Neighbours of a second moment v in bfloat16 are v/256 to v/128 away,
# so a decay of 1 - 0.999 is rounded away and v never falls, while one of 1 - 0.99 is not.
COMPENSATED = "optimi.AdamW"
COMPENSATED_BETAS = (0.9, 0.99)
EPSILON = 1e-8


ADVICE = (
    "keep weights in float32 (the default; model.dtype sets the precision of forwards), or set "
    "optimizer.weights to bfloat16 for compensated sums"
)


class Precision(NamedTuple):
    """Names of dtypes: of forward passes, of the loaded model, and of the trained weights."""

    forward: str
    loaded: str
    trained: str


def precision_of(config: Config, *, has_bfloat16: bool) -> Precision:
    """Resolve the precision that a configuration asks for.

    Forward passes compute in `model.dtype`. In full fine-tuning, weights are kept in
    `optimizer.weights`, by default float32. With adapters, the frozen model is kept in
    `model.dtype` and the adapters in float32.

    Args:
        config: Configuration of the run.
        has_bfloat16: Whether the machine supports bfloat16, which determines `auto`.

    Raises:
        ConfigError: `optimizer.weights` is bfloat16, but the run trains adapters or computes
            forward passes in another precision.
    """
    weights, forward = config.optimizer.weights, config.model.dtype
    if forward == "auto":
        forward = "bfloat16" if has_bfloat16 or weights == "bfloat16" else "float32"
    if weights == "bfloat16" and config.model.lora:
        raise ConfigError(
            "optimizer.weights=bfloat16: adapters (model.lora) are small and kept in float32; "
            "leave optimizer.weights out"
        )
    if weights == "bfloat16" and forward != "bfloat16":
        raise ConfigError(
            f"optimizer.weights=bfloat16 with model.dtype={forward}: forwards with weights in "
            "bfloat16 compute in bfloat16; set model.dtype to bfloat16, or leave weights at float32"
        )
    if config.model.lora:
        return Precision(forward, forward, "float32")
    return Precision(forward, weights, weights)


class Weights(NamedTuple):
    """A trained tensor, or several similar ones.

    Attributes:
        dtype: Name of the dtype.
        size: Number of weights.
        magnitude_N: |w| of N sampled weights, shape (N,).
    """

    dtype: str
    size: int
    magnitude_N: np.ndarray


def expected(dtype: str, spread: float | None) -> list[Weights]:
    """Typical weights of a model that is not loaded.

    Args:
        dtype: Name of their dtype.
        spread: Standard deviation of the matrices (`initializer_range` of the model).

    Returns:
        Normally distributed matrices, and norms of value 1, with sizes in a ratio of 10,000 to 1.
    """
    quantiles = (np.arange(1000) + 0.5) / 1000
    normal = NormalDist(sigma=spread or USUAL_SPREAD)
    matrices_N = np.abs([normal.inv_cdf(quantile) for quantile in quantiles])
    return [Weights(dtype, 10_000, matrices_N), Weights(dtype, 1, np.ones(1))]


@dataclass(frozen=True)
class Steps:
    """Step size and rounding of an optimizer.

    Attributes:
        optimizer: Name of the optimizer.
        learning_rate: Highest learning rate.
        size: Approximate size of the largest step; None if unknown.
        kept: Whether rounding errors are carried over to the next step (compensated sums) or are
            unbiased (stochastic rounding).
    """

    optimizer: str
    learning_rate: float
    size: float | None
    kept: bool = False


# The largest step in units of the learning rate, by the first substring that the name contains.
# Adam's m / sqrt(v) is at most about 1, and so is Adafactor's update, whose mean square is clipped.
# Lion steps by a sign, AdEMAMix by m + 5 m', and RMSprop first by g / sqrt((1 - 0.99) g^2).
STEPS = {"ademamix": 6.0, "adafactor": 1.0, "adam": 1.0, "lion": 1.0, "rmsprop": 10.0}
STEPS |= {"adagrad": 1.0}
YES = ("true", "1", "yes", "y", "on", "t")


def steps_of(
    optimizer: str,
    learning_rate: float,
    *,
    options: Mapping[str, Any] | None = None,
    clip: float = 0.0,
    trained: int | None = None,
) -> Steps:
    """Estimate the steps of an optimizer of transformers or PyTorch by its name.

    Steps of SGD are proportional to gradients. If the gradient norm is clipped to c, the root mean
    square of P gradients is at most c / sqrt(P). A step is at most this bound times the learning
    rate, divided by 1 - momentum.

    Args:
        optimizer: Name such as "adamw_torch_fused" or "optimi.AdamW".
        learning_rate: Highest learning rate.
        options: Other options of the optimizer.
        clip: Maximum gradient norm; 0 for no clipping.
        trained: Number of trained weights, if known.
    """
    name, options = optimizer.lower(), options or {}
    # Both use compensated sums in low precision by default.
    sums = ("optimi." in name or "stable_adamw" in name) and options.get("kahan_sum") is not False
    switches = ("use_kahan_summation", "bf16_stochastic_round")
    kept = sums or any(str(options.get(switch)).lower() in YES for switch in switches)
    size = next((learning_rate * rate for part, rate in STEPS.items() if part in name), None)
    if "sgd" in name and clip and trained:
        momentum = float(options.get("momentum", 0.0))
        size = learning_rate * clip / math.sqrt(trained) / (1 - momentum)
    return Steps(optimizer, learning_rate, size, kept)


def reach(step: float, dtype: str) -> float:
    """The magnitude below which a step changes a weight.

    A weight w with 2^e <= |w| < 2^(e+1) is 2^(e-m) away from its neighbours, where m is the
    number of significand bits (7 in bfloat16, 10 in float16, 23 in float32). Rounding to nearest
    returns w unless the step exceeds half of that distance, 2^(e-m-1), which in bfloat16 is
    |w| / 512 to |w| / 256. So a step changes weights below 2^ceil(log2(step) + m + 1). For
    a step of 1e-6, these are weights below 0.00049 in bfloat16, and below 32 in float32.

    Args:
        step: Absolute size of the step.
        dtype: Name of a dtype in `FORMATS`.
    """
    bits, least = FORMATS[dtype]
    if step <= 2.0 ** (least - bits - 1):
        return 0.0  # at most half of the smallest subnormal number
    return 2.0 ** math.ceil(math.log2(step) + bits + 1)


class Moved(NamedTuple):
    """Share of the weights that steps change, and number of tensors that do not change at all."""

    share: float
    still: int
    tensors: int


def moved(weights: Sequence[Weights], steps: Steps) -> Moved:
    """Compute the share of the weights that steps of known size change; dtypes as in `FORMATS`."""
    shares = [float((w.magnitude_N < reach(steps.size or 0.0, w.dtype)).mean()) for w in weights]
    size = sum(w.size for w in weights)
    whole = sum(share * w.size for share, w in zip(shares, weights, strict=True))
    return Moved(whole / size, sum(share == 0 for share in shares), len(shares))


class Verdict(NamedTuple):
    """An error if steps cannot train the weights; a warning if some weights may not train."""

    error: str | None = None
    warning: str | None = None


def judge(weights: Sequence[Weights], steps: Steps) -> Verdict:
    """Judge whether an optimizer can train weights in their precision.

    Args:
        weights: The trained weights. Those in float32 or float64 always pass.
        steps: Steps of the optimizer.

    Returns:
        An error if the steps change a smaller share of the weights than `ENOUGH`. A warning if
        they do not change some tensors at all, or if it is unknown whether they do.
    """
    high = ("float32", "float64", *(("bfloat16",) if steps.kept else ()))
    rounded = [w for w in weights if w.dtype not in high]
    dtypes = ", ".join(dict.fromkeys(w.dtype for w in rounded))
    subject = f"{steps.optimizer} at learning rate {steps.learning_rate:g}"
    if rounded and (steps.size is None or any(w.dtype not in FORMATS for w in rounded)):
        words = f"cannot determine whether {subject} moves weights kept in {dtypes}"
        return Verdict(warning=f"{words}; {ADVICE}")
    if not rounded or not steps.size:
        return Verdict()
    found = moved(rounded, steps)
    if found.share < ENOUGH:
        small = reach(steps.size or 0.0, max(rounded, key=lambda w: w.size).dtype)
        return Verdict(
            f"{subject} cannot train weights kept in {dtypes}: a step is rounded away unless "
            f"|w| < {small:.2g}, which holds for {found.share:.1%} of the weights, and moves "
            f"nothing in {found.still} of {found.tensors} tensors; {ADVICE}"
        )
    if found.still:
        return Verdict(
            warning=f"{subject} moves nothing in {found.still} of {found.tensors} tensors kept in "
            f"{dtypes}, such as norms; {ADVICE}"
        )
    return Verdict()
