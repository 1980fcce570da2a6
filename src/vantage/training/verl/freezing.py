"""Freezes the vision tower when imported; veRL ignores its own option for this.

Every process of veRL that builds a model imports this module, because
`actor_rollout_ref.model.external_lib` names it. Written against the veRL versions in
`vantage.training.versions.SUPPORTED`.
"""

from __future__ import annotations

import functools
from typing import Any

from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

from vantage.training.towers import freeze_vision_tower

_build = FSDPEngine._build_module


@functools.wraps(_build)
def _build_frozen(engine: FSDPEngine) -> Any:
    module = _build(engine)
    freeze_vision_tower(module)
    return module


FSDPEngine._build_module = _build_frozen
