"""Log-probs of packs against those of rows, next to the rounding noise between rows.

Rows pass through the model one at a time ("alone") or as one batch ("together"); these differ only
by rounding. "Off by one" are packs whose responses have wrong positions, which a check must detect.
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
    """All precisions; the ground truth is rows in 32 bits."""
    model = model_of(tiny).to(torch.bfloat16).eval()
    group = Group.of(TINY if tiny else WORK, tiny)
    truth = None
    for name, weights, autocast in (
        ("float32", torch.float32, False),
        ("autocast", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        model.to(weights)  # values were rounded to 16 bits before, so they are equal in both
        computed = functools.cache(functools.partial(log_probs, model, group, autocast))
        yield from compared(name, computed, truth)
        truth = computed("rows alone") if truth is None else truth


def compared(name: str, computed: Callable, truth: torch.Tensor | None) -> Iterator[Case]:
    """Compare the methods in one precision with each other, and with the ground truth."""

    def between(one: str, other: str) -> Numbers:
        return apart(computed(one), truth if other == "float32" else computed(other))

    pairs = list(COMPARED)
    if truth is not None:
        pairs += [(way, "float32") for way in ("rows alone", "rows together", "packed")]
    for one, other in pairs:
        yield f"{name}: {one}, {other}", functools.partial(between, one, other)


def log_probs(model, group: Group, autocast: bool, way: str) -> torch.Tensor:
    """Concatenated log-probs of all responses."""
    count = len(group.responses_GR)
    context = torch.autocast(DEVICE, torch.bfloat16) if autocast else contextlib.nullcontext()
    with context:
        if way == "rows alone":
            return torch.cat([group.log_probs(model, [row]) for row in group.packs([1] * count)])
        packs = group.packs([1] * count if way == "rows together" else [count])
        return group.log_probs(model, packs, shift=int(way == "packed, off by one"))


def apart(one: torch.Tensor, other: torch.Tensor) -> Numbers:
    """Mean and maximum absolute difference of log-probs."""
    difference = (one - other).abs()
    return {"mean": difference.mean().item(), "max": difference.max().item()}
