"""Peak memory of updates of the published size, compared with vantage's estimate.

The estimate excludes the tower's activations, autocast copies, and fragmentation.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from update_step import Work, side_of

from gpu.chip import peak_gib
from gpu.policy import TINY, Group, estimate_gib, model_of, processor
from gpu.results import Case, Numbers

WORK = Work("published", 1254, 2048, group=4)
SIDES = (
    ("bfloat16", "sgd", "rows"),
    ("float32", "adamw_torch_fused", "rows"),
    ("float32", "adamw_torch_fused", "packed"),
)


def cases(tiny: bool) -> Iterator[Case]:
    """16-bit weights with SGD; 32-bit weights with AdamW and 16-bit forward passes."""
    work = TINY if tiny else WORK
    for weights, optimizer, side in SIDES:
        name = f"{weights} weights, {optimizer.partition('_')[0]}, {side}"
        yield name, functools.partial(compare, work, weights, optimizer, side, tiny)


def compare(work: Work, weights: str, optimizer: str, side: str, tiny: bool) -> Numbers:
    """Measure with a new model, so that no memory of another case counts."""
    model = model_of(tiny).to(getattr(torch, weights))
    prompt = Group.of(work, tiny).prompt
    trainer, _ = side_of(
        side,
        work,
        model=model,
        processor=processor(work, tiny),
        gradient_checkpointing=True,
        learning_rate=0.0,  # steps that bfloat16 would round away are an error; 0 is allowed
        optim=optimizer,
        num_iterations=2,
        max_steps=2,
    )
    peak = peak_gib(trainer.train)
    estimate = estimate_gib(
        model,
        rows=work.group,
        prompt=prompt,
        response=work.response,
        optimizer=optimizer != "sgd",
    )
    return {"P": prompt, "R": work.response, "peak GiB": peak, "estimate GiB": estimate}
