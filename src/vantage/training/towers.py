"""Finds and freezes the vision tower of a model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from vantage.errors import ConfigError

VISION_TOWERS = ("visual", "vision_tower", "vision_model")


def towers(model: nn.Module, names: Sequence[str] = VISION_TOWERS) -> list[nn.Module]:
    """Modules of a model with one of the names, by default transformers' names of vision towers."""
    named = model.named_modules()
    return [module for name, module in named if name.rpartition(".")[2] in names]


def freeze_vision_tower(model: nn.Module) -> None:
    """Disable gradients of the vision tower.

    Raises:
        ConfigError: The model has no vision tower with a known name.
    """
    found = towers(model)
    if not found:
        raise ConfigError(
            f"freeze_vision_tower: {type(model).__name__} has no module named "
            f"{' or '.join(VISION_TOWERS)}"
        )
    for tower in found:
        tower.requires_grad_(False)
