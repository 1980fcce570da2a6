"""What every engine writes down of a rollout batch."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from vantage.errors import some_names
from vantage.questions.prompts import Prompts
from vantage.training.planning import Outcomes

logger = logging.getLogger(__name__)

MOST = 100  # that wait for a disk


def columns_of(outcomes: Outcomes, prompts: Prompts) -> dict[str, Any]:
    """What a `vantage.record.Step` says of the questions asked, when, and what came of them."""
    places, made = outcomes.place_N.tolist(), np.unique(outcomes.home_N).tolist()
    asked_Q = {place: prompts.asked(place) for place in set(places)}
    return {
        "question_N": np.array([asked_Q[place].question for place in places]),
        "epoch_N": np.array([asked_Q[place].epoch for place in places]),
        "place_N": outcomes.place_N,
        "prompt_N": outcomes.home_N,
        "variant_N": outcomes.home_N % prompts.variants.count,
        "reward_N": outcomes.reward_N,
        "done": prompts.done,
        "prompts": {prompt: prompts.prompt(prompt) for prompt in made},
    }


class Writing:
    """Writes a record in order.

    A full disk must not end a run whose weights are fine: what cannot be written is kept in memory
    and written before whatever comes next.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], None], str]] = deque()

    def write(self, write: Callable[[], None], what: str) -> None:
        """Write something, after what waits."""
        self._waiting.append((write, what))
        self.settle()

    def settle(self) -> None:
        """Write what waits, as far as that can be done; the rest is told."""
        while self._waiting:
            try:
                self._waiting[0][0]()
            except OSError as error:
                told = some_names(what for _, what in self._waiting)
                logger.warning(f"{told} is not in the record yet: {error}; writing is retried")
                if len(self._waiting) > MOST:
                    self._waiting.popleft()
                return
            self._waiting.popleft()
