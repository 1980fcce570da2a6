"""Updates with the architecture of Qwen2.5-VL-3B: stock TRL against packs, alternating.

The model has random bfloat16 weights, gradient checkpointing, a frozen vision tower, and SGD.
Responses are synthetic. Seconds are those of an update: forward, backward, optimizer.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator

from update_step import STEPS, Work, alternate, losses, ratios, side_of, turn

from gpu.chip import matrix_rate, peak_gib
from gpu.policy import TINY, Counted, Group, model_of, processor
from gpu.results import Case, Numbers

WORKS = {Work("R 512", 896, 512): 4, Work("R 2,048", 896, 2048): 3}  # turns of each side


def cases(tiny: bool) -> Iterator[Case]:
    """Short and long responses."""
    yield "matrix product", lambda: {"TFLOP/s": matrix_rate(tiny) / 1e12}
    model = model_of(tiny)
    for work, turns in ({TINY: 1} if tiny else WORKS).items():
        prompt = Group.of(work, tiny).prompt
        name = f"P {prompt}, R {work.response}, G {work.group}"
        yield name, functools.partial(compare, model, work, turns, tiny)


def compare(model, work: Work, turns: int, tiny: bool) -> Numbers:
    """Compare both sides in one process."""
    # With bfloat16 weights, steps of 1e-6 would be rounded away and are an error; 0 is allowed.
    options = {"gradient_checkpointing": True, "learning_rate": 0.0, "optim": "sgd"}
    sides = {
        name: side_of(name, work, model=model, processor=processor(work, tiny), **options)
        for name in ("TRL", "packed")
    }
    seconds = alternate(sides, turns)
    apart = [abs(a - b) for a, b in zip(*(losses(t) for t, _ in sides.values()), strict=True)]
    median, least, most = ratios(seconds["TRL"], seconds["packed"])
    found: Numbers = {"times faster": median, "least": least, "most": most}
    for name, side in sides.items():
        with Counted(model) as counted:
            peak = peak_gib(functools.partial(turn, *side))
        steps = 1 + STEPS
        flop = counted.flop(scored=steps * work.group * work.response) / steps
        middle = statistics.median(seconds[name])
        found |= {
            f"{name} s": middle,
            f"{name} peak GiB": peak,
            f"{name} PFLOP": flop / 1e15,
            f"{name} share of the matrix rate": flop / middle / matrix_rate(tiny),
        }
    return {**found, "losses apart": max(apart)}
