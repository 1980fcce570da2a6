"""Reward functions with TRL's signature: (completions, **columns) -> one number a completion."""

from collections.abc import Callable

from vantage.rewards.accuracy import accuracy
from vantage.rewards.choice import choice
from vantage.rewards.format import format
from vantage.rewards.numeric import numeric
from vantage.rewards.string import string
from vantage.rewards.tags import tag_accuracy, tag_format

REWARDS: dict[str, Callable[..., list[float]]] = {
    "accuracy": accuracy,
    "choice": choice,
    "format": format,
    "numeric": numeric,
    "string": string,
    "tag_accuracy": tag_accuracy,
    "tag_format": tag_format,
}

__all__ = [
    "REWARDS",
    "accuracy",
    "choice",
    "format",
    "numeric",
    "string",
    "tag_accuracy",
    "tag_format",
]
