"""The processes of a distributed run, where torch knows of some. No torch is loaded for it."""

from __future__ import annotations

import sys
from typing import Any


def count() -> int:
    """How many train together; 1 where torch was told of no others."""
    return _distributed().get_world_size() if _distributed() else 1


def rank() -> int:
    """The number of this one, from 0."""
    return _distributed().get_rank() if _distributed() else 0


def gathered(own: Any) -> list[Any]:
    """What every process hands in, by their numbers; all of them have to call it."""
    found: list[Any] = [own] * count()
    if _distributed():
        _distributed().all_gather_object(found, own)
    return found


def _distributed() -> Any:
    """`torch.distributed`, where this process is one of a group."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return None
    return torch.distributed if torch.distributed.is_initialized() else None
