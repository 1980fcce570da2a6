"""The hardware and packages of the local machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Machine:
    """The machine that will train.

    Attributes:
        gpu: Memory of its first GPU, in bytes; None without a GPU.
        missing: A sentence for each missing requirement of the engine.
    """

    gpu: int | None
    missing: tuple[str, ...]


def gpu_memory() -> int | None:
    """Memory of the first GPU, in bytes; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(0).total_memory
