"""What the machine at hand has for a run."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Machine:
    """The machine that is to train.

    Attributes:
        gpu: bytes of its first GPU; None without one.
        missing: what the engine needs and does not find, a sentence each.
    """

    gpu: int | None
    missing: tuple[str, ...]


def gpu_memory() -> int | None:
    """Bytes of the first GPU; None without one."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(0).total_memory
