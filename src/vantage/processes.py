"""Rank, world size and gathering in torch.distributed, without importing torch."""

from __future__ import annotations

import sys
from typing import Any


def count() -> int:
    """World size; 1 if torch.distributed is not initialized."""
    return _distributed().get_world_size() if _distributed() else 1


def rank() -> int:
    """Rank of this process; 0 if torch.distributed is not initialized."""
    return _distributed().get_rank() if _distributed() else 0


def gathered(own: Any) -> list[Any]:
    """Gather an object from every process, in order of rank. All processes must call it."""
    found: list[Any] = [own] * count()
    if _distributed():
        _distributed().all_gather_object(found, own)
    return found


def _distributed() -> Any:
    """The module `torch.distributed` if a process group is initialized, else None."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return None
    return torch.distributed if torch.distributed.is_initialized() else None
