"""What every engine writes down of a rollout batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from vantage.questions.prompts import Prompts
from vantage.training.planning import Outcomes

logger = logging.getLogger(__name__)


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


def attempt(write: Callable[[], None], what: str) -> None:
    """Write something down; a full disk must not end a run whose weights are well."""
    try:
        write()
    except OSError as error:
        logger.warning(f"{what} is not in the record: {error}")
