"""Scoring of responses by a benchmark's rule and by a judge."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vantage.chat.journal import Journal, digest
from vantage.evaluation.benchmarks import Benchmark
from vantage.evaluation.items import Item
from vantage.evaluation.sampling import Response
from vantage.questions.schema import IMAGE
from vantage.rewards.judge import ASK, SYSTEM, messages, shown, verdict
from vantage.rewards.values import LETTERS

if TYPE_CHECKING:
    from vantage.chat.server import Settings


TEMPERATURE = 0.0  # sampling temperature of a judge


@dataclass(frozen=True)
class Score:
    """The score of a response.

    Attributes:
        answer: The final answer; None if the response has none.
        right: Whether it is right by the benchmark's rule.
    """

    answer: str | None
    right: bool


def score(benchmark: Benchmark, item: Item, response: str) -> Score:
    """Score a response to a question by the benchmark's rule."""
    answer = benchmark.answer_of(response) or None  # an empty box is no answer
    right = benchmark.rule(item, answer)
    return Score(answer, benchmark.unclear(item) if right is None else right)


@dataclass(frozen=True)
class Judge:
    """A model that judges each response, in addition to the rule.

    Attributes:
        settings: The server's settings.
        concurrency: Maximum number of requests in flight.
    """

    settings: Settings
    concurrency: int = 16

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the verdicts depend on."""
        return {
            "model": self.settings.model,
            "server": self.settings.address,
            "temperature": TEMPERATURE,
            "wording": digest([SYSTEM, ASK])[:8],
        }

    def right(
        self,
        benchmark: Benchmark,
        items: Sequence[Item],
        responses_QN: Sequence[Sequence[Response]],
        journal: Journal,
    ) -> np.ndarray:
        """Judge all responses.

        Failed responses are not judged. A request that the server refuses gives no verdict.

        Returns:
            right_QN: 1.0 for a correct response, 0.0 for a wrong one, NaN without a verdict.

        Raises:
            EngineError: If some verdicts are missing; the journal keeps the others.
            ConfigError: If the server cannot be reached or refuses the requests.
        """
        from vantage.chat.asking import Request, ask_all, wait_for

        asked = {
            (place, sample): (_question(item), _reference(item), shown(one.text))
            for place, (item, said) in enumerate(zip(items, responses_QN, strict=True))
            for sample, one in enumerate(said)
            if one.failed is None
        }
        heat = {"temperature": TEMPERATURE}
        requests = (
            Request(self._key(one), functools.partial(messages, *one), heat)
            for one in asked.values()
        )
        answers = wait_for(
            ask_all(self.settings, requests, concurrency=self.concurrency, journal=journal)
        )
        answers.complete(f"{benchmark.title}, judge {self.settings.model}")
        right_QN = np.full((len(items), len(responses_QN[0])), np.nan)
        for (place, sample), one in asked.items():
            answer = answers.found.get(self._key(one))
            if answer is not None:
                said = verdict(answer.text) or "unclear"
                pardoned = said == "unclear" and benchmark.unclear(items[place])
                right_QN[place, sample] = said == "correct" or pardoned
        return right_QN

    def _key(self, asked: tuple[str, str, str]) -> str:
        return "judge/" + digest([self.identity, SYSTEM, ASK, asked])


def _question(item: Item) -> str:
    return item.question.text.replace(IMAGE, "").strip()


def _reference(item: Item) -> str:
    """Return the reference; a letter is followed by the text of its option."""
    known = dict(zip(LETTERS, item.options, strict=False))
    there = known.get(item.reference)
    return f"({item.reference}) {there}" if there else item.reference
