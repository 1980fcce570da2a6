"""Share of weights that AdamW changes at the published learning rate, in 16 and 32 bits."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from gpu.chip import CUDA, DEVICE
from gpu.results import Case, Numbers

RATE, UPDATES = 1e-6, 100


def cases(tiny: bool) -> Iterator[Case]:
    """Both precisions."""
    for dtype in (torch.bfloat16, torch.float32):
        name = f"AdamW, lr {RATE:.0e}, {str(dtype).removeprefix('torch.')}"
        yield name, functools.partial(moved, dtype, 64 if tiny else 4096)


def moved(dtype: torch.dtype, side: int) -> Numbers:
    """Shares of the entries of a matrix and of a norm that change under random gradients."""
    torch.manual_seed(0)
    start = [0.02 * torch.randn(side, side, device=DEVICE), torch.ones(side, device=DEVICE)]
    start = [values.to(dtype) for values in start]
    weights = [torch.nn.Parameter(values.clone()) for values in start]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01, fused=CUDA)
    for _ in range(UPDATES):
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        optimizer.step()
    matrix, norm = (
        (now != before).float().mean().item() for now, before in zip(weights, start, strict=True)
    )
    return {"updates": UPDATES, "share of a matrix moved": matrix, "share of a norm moved": norm}
