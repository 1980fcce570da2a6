"""How responses are sampled, and what one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vantage.errors import check_between
from vantage.questions.schema import Question

Read = Callable[[int], Question]


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled; a temperature of 0 takes the likeliest token.

    Raises:
        ConfigError: a number that no evaluation has.
    """

    samples: int = 8
    temperature: float = 0.5
    max_tokens: int = 2048
    seed: int = 0

    def __post_init__(self):
        check_between("samples", self.samples, 1, 100_000)
        check_between("temperature", self.temperature, 0, 100)
        check_between("max_tokens", self.max_tokens, 1, 10_000_000)
        check_between("seed", self.seed, 0, 2**32 - 1)


@dataclass(frozen=True)
class Response:
    """A response.

    Attributes:
        text: as it was said.
        tokens: how many it has.
        failed: why there is none, None where there is one.
    """

    text: str
    tokens: int
    failed: str | None = None
