"""A rollout without a verdict does not affect the plan."""

import numpy as np
import pytest

from vantage.methods.recipe import recipe
from vantage.training.planning import Outcomes, make_plan, totals

WEIGHTS = [0.9, 0.1]


def outcomes(part_NF: np.ndarray, question_N: np.ndarray) -> Outcomes:
    return Outcomes(question_N, question_N, totals(part_NF, WEIGHTS), part_NF)


@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "rloo", "shuffle-r1", "share-shuffle", "pods"])
def test_failing_judge_keeps_the_advantages_of_other_rollouts(name):
    rng = np.random.default_rng(0)
    question_N = np.repeat(np.arange(6), 9)
    part_NF = rng.integers(0, 2, (54, 2)).astype(float)
    failed_N = np.arange(54) % 3 == 1
    part_NF[failed_N, 0] = np.nan  # the judge; the format has a value
    found = make_plan(recipe(name), outcomes(part_NF, question_N), seed=1, number=2)
    there = np.flatnonzero(~failed_N)
    without = make_plan(recipe(name), outcomes(part_NF[there], question_N[there]), seed=1, number=2)
    assert (found.unscored, without.unscored) == (18, 0)
    assert found.samples.advantage_M.any()
    assert np.array_equal(found.samples.advantage_M, without.samples.advantage_M)
    assert np.array_equal(found.samples.rollout_M, there[without.samples.rollout_M])
