"""Responses as right or wrong answers, by a benchmark's rule and by a judge."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vantage.chat.journal import Journal, digest
from vantage.evaluation.benchmarks import Benchmark
from vantage.evaluation.items import Item
from vantage.evaluation.responses import Response
from vantage.questions.schema import IMAGE
from vantage.rewards.judge import ASK, SYSTEM, messages, shown, verdict
from vantage.rewards.values import LETTERS

if TYPE_CHECKING:
    from vantage.chat.server import Settings


@dataclass(frozen=True)
class Score:
    """What a response is worth.

    Attributes:
        answer: that it ends with, None without one.
        right: by the benchmark's rule.
    """

    answer: str | None
    right: bool


def score(benchmark: Benchmark, item: Item, response: str) -> Score:
    """What a response to a question is worth by the benchmark's rule."""
    answer = benchmark.answer_of(response) or None  # an empty box has none
    right = benchmark.rule(item, answer)
    return Score(answer, benchmark.unclear(item) if right is None else right)


@dataclass(frozen=True)
class Judge:
    """A model that is asked about each response, apart from the rule.

    Attributes:
        settings: of its server.
        concurrency: requests under way at a time.
    """

    settings: Settings
    concurrency: int = 16

    def right(
        self,
        benchmark: Benchmark,
        items: Sequence[Item],
        responses_QN: Sequence[Sequence[Response]],
        journal: Journal,
    ) -> np.ndarray:
        """right_QN: whether it finds each response correct.

        Raises:
            EngineError: some verdicts are missing; the others are in the journal.
            ConfigError: the server cannot be asked.
        """
        from vantage.chat.asking import Request, ask_all, wait_for

        asked_QN = [
            [(_question(item), _reference(item), shown(one.text)) for one in said]
            for item, said in zip(items, responses_QN, strict=True)
        ]
        requests = (
            Request(self._key(asked), functools.partial(messages, *asked), {"temperature": 0.0})
            for row in asked_QN
            for asked in row
        )
        answers = wait_for(
            ask_all(self.settings, requests, concurrency=self.concurrency, journal=journal)
        )
        answers.complete(f"{benchmark.title}, judge {self.settings.model}")
        right_QN = np.zeros((len(items), len(responses_QN[0])), dtype=bool)
        for place, item in enumerate(items):
            for sample, asked in enumerate(asked_QN[place]):
                answer = answers.found.get(self._key(asked))
                said = (verdict(answer.text) if answer else None) or "unclear"
                pardoned = said == "unclear" and benchmark.unclear(item)
                right_QN[place, sample] = said == "correct" or pardoned
        return right_QN

    def _key(self, asked: tuple[str, str, str]) -> str:
        return "judge/" + digest([self.settings.model, SYSTEM, ASK, asked])


def _question(item: Item) -> str:
    return item.question.text.replace(IMAGE, "").strip()


def _reference(item: Item) -> str:
    """The reference, a letter with the option behind it."""
    known = dict(zip(LETTERS, item.options, strict=False))
    there = known.get(item.reference)
    return f"({item.reference}) {there}" if there else item.reference
