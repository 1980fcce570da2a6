"""Rewards with TRL's signature: (completions, **columns) -> one number a completion."""

from vantage.rewards.accuracy import accuracy
from vantage.rewards.format import format

REWARDS = {"accuracy": accuracy, "format": format}

__all__ = ["REWARDS", "accuracy", "format"]
