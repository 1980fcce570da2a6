"""In which precision a run keeps and updates weights, and whether updates of it move them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from vantage.config import Config
from vantage.errors import ConfigError

# Bits after the leading one of a weight, and the exponent of the smallest normal number.
FORMATS = {"float32": (23, -126), "bfloat16": (7, -126), "float16": (10, -14)}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# A run is refused where a step reaches a smaller share of the weights.
ENOUGH = 0.9
# Standard deviation of matrices that a configuration of a model does not say.
USUAL_SPREAD = 0.02

# AdamW as it is used on weights in bfloat16. A second moment v in bfloat16 is spaced v/256 to
# v/128, so that a decay of 1 - 0.999 is rounded away and v never falls; one of 1 - 0.99 is not.
COMPENSATED = "optimi.AdamW"
COMPENSATED_BETAS = (0.9, 0.99)
EPSILON = 1e-8


ADVICE = (
    "keep weights in float32 (the default; model.dtype says what forwards compute in), or set "
    "optimizer.weights to bfloat16 for compensated sums"
)


class Precision(NamedTuple):
    """Names of dtypes: what forwards compute in, the model is loaded in, and training updates."""

    forward: str
    loaded: str
    trained: str


def precision_of(config: Config, *, has_bfloat16: bool) -> Precision:
    """The precision that a configuration asks for.

    Weights that are all trained are kept as `optimizer.weights` says, in float32 by default, and
    forwards compute in `model.dtype`. With adapters the frozen model is kept in `model.dtype`
    and the adapters in float32.

    Args:
        config: of the run.
        has_bfloat16: whether the machine computes in bfloat16; decides what `auto` means.

    Raises:
        ConfigError: `optimizer.weights: bfloat16` with adapters, or with forwards in another
            precision.
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
            f"optimizer.weights=bfloat16 with model.dtype={forward}: weights in bfloat16 are "
            "computed with in bfloat16; set model.dtype to bfloat16, or leave weights at float32"
        )
    if config.model.lora:
        return Precision(forward, forward, "float32")
    return Precision(forward, weights, weights)


class Weights(NamedTuple):
    """A tensor that is trained, or several alike.

    Attributes:
        dtype: its name.
        size: how many weights.
        magnitude_N: |w| of a sample of them.
    """

    dtype: str
    size: int
    magnitude_N: np.ndarray


def expected(dtype: str, spread: float | None) -> list[Weights]:
    """Weights as a model that is not loaded is likely to have them.

    Args:
        dtype: of all of them.
        spread: standard deviation of its matrices (`initializer_range` of its configuration).

    Returns:
        Matrices, normally distributed, and norms, which are one; sizes in a ratio of 10,000 to 1.
    """
    quantiles = (np.arange(1000) + 0.5) / 1000
    normal = NormalDist(sigma=spread or USUAL_SPREAD)
    matrices_N = np.abs([normal.inv_cdf(quantile) for quantile in quantiles])
    return [Weights(dtype, 10_000, matrices_N), Weights(dtype, 1, np.ones(1))]


@dataclass(frozen=True)
class Steps:
    """How an optimizer moves a weight.

    Attributes:
        optimizer: its name.
        learning_rate: the highest.
        size: of about the largest step, None where it cannot be told.
        kept: whether what rounding drops from a step is kept for the next one (compensated
            sums), or drops by chance so that the mean is right (stochastic rounding).
    """

    optimizer: str
    learning_rate: float
    size: float | None
    kept: bool = False


# The largest step in units of the learning rate, by the first part of the name that fits. Adam's
# m / sqrt(v) is about one at most, as is Adafactor's, which is clipped by its mean square; a
# sign is one; m of AdEMAMix is m + 5 m'; RMSprop's first step is g / sqrt((1 - 0.99) g^2).
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
    """How an optimizer of transformers or PyTorch moves a weight, by its name.

    Steps of SGD follow the gradients: where their norm is clipped to c, the root of the mean
    square of P gradients is c / sqrt(P) at most, and a step is the learning rate times that,
    over 1 - momentum.

    Args:
        optimizer: name, such as "adamw_torch_fused" or "optimi.AdamW".
        learning_rate: the highest.
        options: its other options.
        clip: norm that gradients are clipped to, 0 for none.
        trained: weights that are trained, where known.
    """
    name, options = optimizer.lower(), options or {}
    # Both take compensated sums for low precision unless they are told not to.
    sums = ("optimi." in name or "stable_adamw" in name) and options.get("kahan_sum") is not False
    switches = ("use_kahan_summation", "bf16_stochastic_round")
    kept = sums or any(str(options.get(switch)).lower() in YES for switch in switches)
    size = next((learning_rate * rate for part, rate in STEPS.items() if part in name), None)
    if "sgd" in name and clip and trained:
        momentum = float(options.get("momentum", 0.0))
        size = learning_rate * clip / math.sqrt(trained) / (1 - momentum)
    return Steps(optimizer, learning_rate, size, kept)


def reach(step: float, dtype: str) -> float:
    """The magnitude below which a step moves a weight; pure.

    A weight w with 2^e <= |w| < 2^(e+1) has its neighbours 2^(e-m) away, m bits after the
    leading one (7 in bfloat16, 10 in float16, 23 in float32). Rounding to the nearest returns
    w unless the step is longer than half of that, 2^(e-m-1): in bfloat16, |w| / 512 to
    |w| / 256. So a step moves the weights below 2^ceil(log2(step) + m + 1): at 1e-6 those below
    0.00049 in bfloat16 and those below 32 in float32.

    Args:
        step: its length.
        dtype: name of a format in `FORMATS`.
    """
    bits, least = FORMATS[dtype]
    if step <= 2.0 ** (least - bits - 1):
        return 0.0  # shorter than half of the smallest number there is
    return 2.0 ** math.ceil(math.log2(step) + bits + 1)


class Moved(NamedTuple):
    """What steps can move: share of the weights, and tensors of which they move no weight."""

    share: float
    still: int
    tensors: int


def moved(weights: Sequence[Weights], steps: Steps) -> Moved:
    """What steps of a known size can move of weights, all of them in formats that are known."""
    shares = [float((w.magnitude_N < reach(steps.size or 0.0, w.dtype)).mean()) for w in weights]
    size = sum(w.size for w in weights)
    whole = sum(share * w.size for share, w in zip(shares, weights, strict=True))
    return Moved(whole / size, sum(share == 0 for share in shares), len(shares))


class Verdict(NamedTuple):
    """Whether steps move weights, and why not: `error` where the run is to be refused."""

    error: str | None = None
    warning: str | None = None


def judge(weights: Sequence[Weights], steps: Steps) -> Verdict:
    """Whether an optimizer can train weights of their precision.

    Args:
        weights: that it trains; those in float32 or more are let pass, whatever the steps.
        steps: how it moves one.

    Returns:
        An error where fewer than `ENOUGH` of the weights can be moved; a warning where whole
        tensors cannot, or where it cannot be told.
    """
    high = ("float32", "float64", *(("bfloat16",) if steps.kept else ()))
    rounded = [w for w in weights if w.dtype not in high]
    dtypes = ", ".join(dict.fromkeys(w.dtype for w in rounded))
    subject = f"{steps.optimizer} at learning rate {steps.learning_rate:g}"
    if rounded and (steps.size is None or any(w.dtype not in FORMATS for w in rounded)):
        words = f"whether {subject} moves weights kept in {dtypes} cannot be told"
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
