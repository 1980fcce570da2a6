"""Rewards with TRL's signature: (completions, **columns) -> one number a completion."""

from collections.abc import Callable

from vantage.rewards.accuracy import accuracy
from vantage.rewards.format import format

REWARDS: dict[str, Callable[..., list[float]]] = {"accuracy": accuracy, "format": format}

__all__ = ["REWARDS", "accuracy", "format"]
