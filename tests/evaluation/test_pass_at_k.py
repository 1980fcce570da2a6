"""pass@k by hand, and against all ways of choosing k answers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vantage.errors import InputError, VantageError
from vantage.evaluation.pass_at_k import Estimate, pass_at_k


@pytest.mark.parametrize(
    ("right", "samples", "k", "mean"),
    [
        ([2], 4, 1, 1 / 2),
        ([1], 4, 2, 1 / 2),  # 3 of the 6 pairs hold the right one
        ([2], 4, 2, 5 / 6),
        ([1], 4, 4, 1),
        ([0], 4, 4, 0),
        ([4], 4, 1, 1),
        ([3], 4, 2, 1),
        ([0, 1, 2, 4], 4, 2, (0 + 1 / 2 + 5 / 6 + 1) / 4),
        ([1], 1, 1, 1),
        ([1], 10_000, 5_000, 1 / 2),
    ],
)
def test_pass_at_k_by_hand(right, samples, k, mean):
    assert pass_at_k(np.array(right), samples, k).mean == pytest.approx(mean, rel=1e-12)


@given(st.data())
def test_pass_at_k_is_the_share_of_choices_with_a_right_answer(data):
    samples = data.draw(st.integers(1, 8))
    k = data.draw(st.integers(1, samples))
    right = data.draw(st.lists(st.integers(0, samples), min_size=1, max_size=5))
    shares = []
    for count in right:
        answers = [True] * count + [False] * (samples - count)
        shares.append(np.mean([any(chosen) for chosen in itertools.combinations(answers, k)]))
    estimate = pass_at_k(np.array(right), samples, k)
    assert estimate.mean == pytest.approx(np.mean(shares), abs=1e-12)
    error = np.std(shares, ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else 0
    assert estimate.error == pytest.approx(error, abs=1e-12)


def test_the_standard_error_by_hand():
    estimate = pass_at_k(np.array([1, 1, 0, 0]), 1, 1)
    assert estimate.mean == 0.5
    assert estimate.error == pytest.approx(np.sqrt((4 * 0.25 / 3) / 4))
    assert estimate.interval == pytest.approx((0, 1))


def test_the_interval_is_clipped_to_0_and_1():
    assert Estimate(0.5, 0.1).interval == pytest.approx((0.304, 0.696))
    assert Estimate(0.99, 0.1).interval == pytest.approx((0.794, 1.0))
    assert Estimate(0.0, 0.1).interval == pytest.approx((0.0, 0.196))


def test_one_question_has_no_error():
    assert pass_at_k(np.array([1]), 2, 1) == Estimate(0.5, 0.0)


@pytest.mark.parametrize(
    ("right", "samples", "k", "named"),
    [
        ([], 4, 1, "pass@1 of 0 questions"),
        ([1], 4, 0, "pass@0"),
        ([1], 4, 5, "pass@5 of 1 questions with 4 answers"),
    ],
)
def test_error_names_what_cannot_be_estimated(right, samples, k, named):
    with pytest.raises(InputError, match=named) as caught:
        pass_at_k(np.array(right), samples, k)
    assert isinstance(caught.value, VantageError)
