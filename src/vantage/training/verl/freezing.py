"""The vision tower stays as it is; veRL lists an option for it, which nothing reads.

Each of veRL's processes that makes a model imports this (`actor_rollout_ref.model.external_lib`).
Written against the veRL versions in `vantage.training.versions.SUPPORTED`.
"""

from __future__ import annotations

import functools
from typing import Any

from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

from vantage.training.towers import freeze_vision_tower

_build = FSDPEngine._build_module


@functools.wraps(_build)
def _frozen(engine: FSDPEngine) -> Any:
    module = _build(engine)
    freeze_vision_tower(module)
    return module


FSDPEngine._build_module = _frozen
