"""Log-probs of packs against those of rows, beside the noise that rows have among themselves.

Rows go through the model each by itself ("alone") or as one batch ("together"): what these differ
by is rounding. "Off by one" are packs whose responses have wrong positions: what a check must find.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch
from update_step import Work

from gpu.chip import DEVICE
from gpu.policy import TINY, Group, model_of
from gpu.results import Case, Numbers

WORK = Work("P = 1,010, R = 512", 896, 512)
COMPARED = (
    ("rows together", "rows alone"),
    ("packed", "rows alone"),
    ("packed", "rows together"),
    ("packed, off by one", "rows together"),
)


def cases(tiny: bool) -> Iterator[Case]:
    """Every precision; the truth is what rows give in 32 bits."""
    model = model_of(tiny).to(torch.bfloat16).eval()
    group = Group.of(TINY if tiny else WORK, tiny)
    truth = None
    for name, weights, autocast in (
        ("float32", torch.float32, False),
        ("autocast", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        model.to(weights)  # of values that 16 bits hold: the same in both
        computed = functools.cache(functools.partial(log_probs, model, group, autocast))
        yield from compared(name, computed, truth)
        truth = computed("rows alone") if truth is None else truth


def compared(name: str, computed: Callable, truth: torch.Tensor | None) -> Iterator[Case]:
    """The ways in one precision with each other, and with the truth."""

    def between(one: str, other: str) -> Numbers:
        return apart(computed(one), truth if other == "float32" else computed(other))

    pairs = list(COMPARED)
    if truth is not None:
        pairs += [(way, "float32") for way in ("rows alone", "rows together", "packed")]
    for one, other in pairs:
        yield f"{name}: {one}, {other}", functools.partial(between, one, other)


def log_probs(model, group: Group, autocast: bool, way: str) -> torch.Tensor:
    """Log-probs of all responses, one after the other."""
    count = len(group.responses_GR)
    context = torch.autocast(DEVICE, torch.bfloat16) if autocast else contextlib.nullcontext()
    with context:
        if way == "rows alone":
            return torch.cat([group.log_probs(model, [row]) for row in group.packs([1] * count)])
        packs = group.packs([1] * count if way == "rows together" else [count])
        return group.log_probs(model, packs, shift=int(way == "packed, off by one"))


def apart(one: torch.Tensor, other: torch.Tensor) -> Numbers:
    """How far log-probs are from each other."""
    difference = (one - other).abs()
    return {"mean": difference.mean().item(), "max": difference.max().item()}
