"""Metrics of a plan match values computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from method_cases import BOUNDED, rollout_tables, rollouts_of, seeded

from vantage.methods import RECIPES, Samples, diagnose, recipe

# Rows 0-3 | 4-5, all wrong | 6-7, all right. Plain group advantage of question 1: mean 3/4,
# std 1/2, so 1/2, -3/2, 1/2, 1/2; of the others 0.
ROLLOUTS = rollouts_of([[1, 0], [1, 1]], [[0, 0]], [[1, 1]])
ROWS = [  # prompt, rollout, advantage, pair, padding
    (10, 0, 1.2, 0, False),
    (10, 1, -2.2, 0, False),
    (11, 0, 0.5, 1, False),  # shared, as is its partner
    (11, 1, -1.5, 1, False),
    (10, 0, 1.2, 0, False),  # the first pair again
    (10, 1, -2.2, 0, False),
    (30, 6, 0.0, 2, False),  # silent but trained
    (30, 7, 0.0, 2, False),
    (20, 4, 0.0, 3, True),
    (20, 5, 0.0, 3, True),
]


def samples_of(rows) -> Samples:
    prompt_M, rollout_M, advantage_M, pair_M, padding_M = map(np.array, zip(*rows, strict=True))
    return Samples(prompt_M, rollout_M, advantage_M, pair_M, padding_M, np.ones(len(rows)))


GOLDEN = {
    "rollouts": 8,
    "questions": 3,
    "samples": 8,
    "padding": 2,
    "silent_questions": 2 / 3,
    "all_correct": 1 / 3,
    "all_incorrect": 1 / 3,
    "silent_rollouts": 4 / 8,
    "silent_samples": 2 / 8,
    "useful_rollouts": 2,  # rows 0 and 1
    "useful_share": 2 / 8,
    "dropped_rollouts": 4 / 8,  # rows 2 and 3, and 4 and 5, which are padding only
    "collapse_before": 4 / 8,
    "collapse_after": 2 / 8,
    # 0, 0, 0, 0, 0.5, 0.5, 0.5, 1.5 at places 0.7, 3.5 and 6.3 of 0-7: 0, 0.25, 0.5 + 0.3 * 1
    "abs_advantage_before_p10": 0,
    "abs_advantage_before_p50": 0.25,
    "abs_advantage_before_p90": 0.8,
    # 0, 0, 0.5, 1.2, 1.2, 1.5, 2.2, 2.2 at the same places
    "abs_advantage_after_p10": 0,
    "abs_advantage_after_p50": 1.2,
    "abs_advantage_after_p90": 2.2,
    "distinct_samples": 6,
    "repeats": 8 / 6,
    "max_repeats": 2,
    "shared_samples": 2 / 8,
    "contrast": (3.4 + 2.0 + 3.4 + 0.0) / 4,
}


def test_all_metrics_of_a_small_plan():
    assert diagnose(ROLLOUTS, samples_of(ROWS)) == pytest.approx(GOLDEN, abs=5e-6)


def test_docstring_defines_every_metric():
    for key in GOLDEN:
        assert key.replace("_p50", "_p10").replace("_p90", "_p10") in diagnose.__doc__


def test_single_samples_have_no_contrast():
    alone = samples_of([(*row[:3], -1, row[4]) for row in ROWS])
    assert diagnose(ROLLOUTS, alone) == pytest.approx(GOLDEN | {"contrast": 0}, abs=5e-6)


def test_plan_of_filler_trains_nothing():
    padding = samples_of([(*row[:4], True) for row in ROWS])
    before = {key: value for key, value in GOLDEN.items() if "before" in key}
    kept = [
        "rollouts",
        "questions",
        "silent_questions",
        "all_correct",
        "all_incorrect",
        "silent_rollouts",
    ]
    expected = (
        dict.fromkeys(GOLDEN, 0)
        | before
        | {key: GOLDEN[key] for key in kept}
        | {"padding": 10, "dropped_rollouts": 1}
    )
    assert diagnose(ROLLOUTS, padding) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(
    ("right", "all_correct", "all_incorrect"),
    [(-0.5, 1, 0), (0, 1 / 3, 1 / 3), (0.99, 1 / 3, 1 / 3), (1, 0, 1)],
)
def test_reward_above_the_threshold_is_right(right, all_correct, all_incorrect):
    numbers = diagnose(ROLLOUTS, samples_of(ROWS), right=right)
    assert (numbers["all_correct"], numbers["all_incorrect"]) == pytest.approx(
        (all_correct, all_incorrect)
    )


@pytest.mark.parametrize("name", sorted(RECIPES))
@BOUNDED
@given(rollout_tables())
def test_metrics_are_finite_and_shares_between_0_and_1(name, rollouts):
    numbers = diagnose(rollouts, recipe(name).plan(rollouts, seeded()))
    assert set(numbers) == set(GOLDEN)
    assert np.isfinite(list(numbers.values())).all()
    for key in numbers:
        if any(word in key for word in ("silent", "all_", "share", "dropped", "collapse")):
            assert 0 <= numbers[key] <= 1, key
    assert numbers["samples"] == pytest.approx(numbers["distinct_samples"] * numbers["repeats"])
