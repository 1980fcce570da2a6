"""One rollout batch after another, without an engine."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vantage.methods import Recipe
from vantage.methods.recipe import recipe
from vantage.questions.sampling import Shuffle
from vantage.training.planning import Outcomes
from vantage.training.session import Session
from vantage.training.stopping import Silence, StoppedError


def session_with(planned: Recipe) -> Session:
    prompts = SimpleNamespace(done=0.0)
    sampling, silence = Shuffle(8, 0), Silence(None)
    return Session(planned, prompts, sampling, range(8), silence, seed=0, questions=2, identity={})


def outcomes(question_N, reward_N) -> Outcomes:
    question_N, reward_N = np.array(question_N), np.array(reward_N, dtype=float)
    return Outcomes(question_N, question_N, reward_N, reward_N[:, None])


def test_a_silent_question_is_replaced_and_its_rollouts_are_forgotten():
    forgotten = []
    session = session_with(recipe("dapo-filter", refills=1))
    first = outcomes([0, 0, 1, 1], [1, 0, 1, 1])
    more = outcomes([2, 2], [0, 1])
    refilled = session.refill(first, lambda missing: more, forgotten.append)
    assert refilled.question_N.tolist() == [0, 0, 2, 2]
    assert [left.question_N.tolist() for left in forgotten] == [[1, 1]]


def test_an_error_of_a_recipe_stops_the_run_and_is_kept():
    def broken(ranked, rng):
        raise LookupError("mine")

    session = session_with(Recipe("broken", selection=broken))
    with pytest.raises(StoppedError, match="mine") as caught:
        session.plan(outcomes([0, 0], [1, 0]))
    assert isinstance(caught.value.error, LookupError)
