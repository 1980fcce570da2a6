"""How responses are sampled, and a sampled response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vantage.errors import check_between
from vantage.questions.schema import Question

Read = Callable[[int], Question]


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled.

    Attributes:
        samples: Number of responses to each question.
        temperature: Sampling temperature; 0 is greedy decoding.
        max_tokens: Maximum length of a response, in tokens.
        seed: Seed of the random numbers.

    Raises:
        ConfigError: If a value is out of range.
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
        text: The text, with the `<think>` tag that the chat template opened.
        tokens: Length in tokens.
        failed: Why the server gave no response; None if it gave one.
    """

    text: str
    tokens: int
    failed: str | None = None
