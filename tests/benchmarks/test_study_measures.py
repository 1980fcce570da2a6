"""What the learning study reads off its curves, against values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study.measures import (
    Curve,
    bootstrap,
    difference,
    mean,
    modelled_seconds,
    reached,
    share_to_reach,
    together,
)


def curve(*points: tuple[float, float]) -> Curve:
    spent_B, accuracy_B = zip(*points, strict=True)
    return Curve(np.array(spent_B), np.array(accuracy_B))


RISING = curve((0, 0.2), (10, 0.4), (20, 0.5))


@pytest.mark.parametrize(
    ("budget", "accuracy"), [(0, 0.2), (5, 0.3), (10, 0.4), (15, 0.45), (20, 0.5), (99, 0.5)]
)
def test_between_points_the_accuracy_is_on_a_line(budget, accuracy):
    assert RISING.at(budget) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("target", "spent"), [(0.1, 0), (0.2, 0), (0.3, 5), (0.4, 10), (0.45, 15), (0.5, 20)]
)
def test_a_target_is_reached_where_the_line_crosses_it(target, spent):
    assert reached(RISING, target) == pytest.approx(spent)


def test_a_target_that_is_never_reached_costs_infinity():
    assert reached(RISING, 0.51) == math.inf


def test_a_target_that_is_lost_again_was_reached_the_first_time():
    assert reached(curve((0, 0.0), (10, 0.6), (20, 0.2), (30, 0.8)), 0.3) == pytest.approx(5)


def test_trainings_are_averaged_at_equal_shares_of_what_each_spent():
    both = together([RISING, curve((0, 0.4), (40, 0.6))], points=3)
    assert both.mean().spent_B.tolist() == [0, 15, 30]
    assert both.mean().accuracy_B.tolist() == pytest.approx([0.3, 0.45, 0.55])
    assert both.mean(np.array([1, 1])).spent_B.tolist() == [0, 20, 40]
    assert both.mean(np.array([1, 1])).accuracy_B.tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_a_twice_as_fast_arm_needs_half():
    base = curve((0, 0.2), (100, 0.6))
    fast = curve((0, 0.2), (50, 0.6), (100, 0.7))
    assert share_to_reach(fast, base) == pytest.approx(0.5)
    assert share_to_reach(fast, base, 0.5) == pytest.approx(0.5)
    assert share_to_reach(base, base) == share_to_reach(base, base, 0.5) == 1
    assert share_to_reach(curve((0, 0.2), (100, 0.59)), base) == math.inf


def test_the_base_is_charged_its_whole_budget_for_its_final_accuracy():
    noisy = curve((0, 0.2), (50, 0.7), (100, 0.6))  # over the line at 40 already
    assert share_to_reach(noisy, noisy) == pytest.approx(0.4)


def test_the_interval_of_a_mean_is_student_s():
    # 1, 2, 3: s = 1, s / sqrt(3) = 0.57735, t(0.975, 2) = 4.302653: 2.484138
    assert mean([1, 2, 3]) == pytest.approx((2, 2 - 2.484138, 2 + 2.484138), abs=1e-5)


def test_a_difference_is_taken_seed_by_seed():
    assert difference([0.5, 0.7, 0.9], [0.4, 0.6, 0.8]) == pytest.approx((0.1, 0.1, 0.1))


def test_a_bootstrap_draws_seeds_again():
    value_S = np.array([0.0, 1.0])
    found = bootstrap(lambda seeds: value_S[seeds].mean(), 2)
    assert found == (0.5, 0.0, 1.0)


def test_infinity_has_a_place_in_a_bootstrap():
    value_S = np.array([1.0, math.inf])
    found = bootstrap(lambda seeds: value_S[seeds].mean(), 2)
    assert found == (math.inf, 1.0, math.inf)


@pytest.mark.parametrize(
    ("spent", "generation", "seconds"),
    [
        ((1, 1, 1), 0.5, 1.0),  # a batch of GRPO
        ((1, 0.5, 0.25), 0.5, 0.5 + 0.5 * (1.5 + 0.25) / 4),  # half of it trained, a quarter twice
        ((1, 0, 0), 0.75, 0.75),  # generated for nothing
        ((2, 1, 1), 0.5, 1.5),  # refilled once
    ],
)
def test_modelled_time_weighs_generation_and_rows(spent, generation, seconds):
    assert modelled_seconds(*spent, generation) == pytest.approx(seconds)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(0, 1))
def test_before_a_target_is_reached_the_accuracy_is_below_it(accuracy, target):
    made = Curve(np.arange(len(accuracy)) * 1.0, np.array(accuracy))
    spent = reached(made, target)
    earlier = made.accuracy_B[made.spent_B < min(spent, math.inf)]
    assert (earlier < target).all()
    if math.isfinite(spent):
        assert made.at(spent) >= target - 1e-9
