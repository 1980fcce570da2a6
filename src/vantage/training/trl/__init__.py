"""Recipes on TRL: `VantageTrainer` is used exactly like TRL's `GRPOTrainer`."""

from vantage.training.versions import check_version

# Check before importing from TRL, whose names change between versions.
check_version("trl")

from vantage.training.towers import freeze_vision_tower  # noqa: E402
from vantage.training.trl.config import VantageConfig  # noqa: E402
from vantage.training.trl.trainer import VantageTrainer  # noqa: E402

__all__ = ["VantageConfig", "VantageTrainer", "freeze_vision_tower"]
