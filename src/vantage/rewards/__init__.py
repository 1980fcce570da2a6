"""Reward functions with TRL's signature: (completions, **columns) -> one number a completion."""

from collections.abc import Callable

from vantage.rewards.accuracy import accuracy, tag_accuracy
from vantage.rewards.choice import choice
from vantage.rewards.format import format, tag_format
from vantage.rewards.numeric import numeric
from vantage.rewards.string import string

REWARDS: dict[str, Callable[..., list[float]]] = {
    reward.__name__: reward
    for reward in (accuracy, choice, format, numeric, string, tag_accuracy, tag_format)
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
