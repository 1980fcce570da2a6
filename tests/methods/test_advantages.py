"""Advantages match values computed by hand from their equations."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from method_cases import BOUNDED, NEARLY_BINARY, rollout_tables, rollouts_of

from vantage.methods.advantages import (
    ESTIMATORS,
    centred_advantage,
    group_advantage,
    hierarchical_advantage,
    leave_one_out_advantage,
)

# Group 7 has rewards 1, 0, 0, 1; group -2 has 3, 1, 2; group 5 has one; group 0 has 4, 4.
GROUP = [7, -2, 7, 7, 5, -2, 7, -2, 0, 0]
REWARD = [1, 3, 0, 0, 9, 1, 1, 2, 4, 4]


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        # 7: mean 1/2, std sqrt(4 * (1/2)^2 / 3) = 0.577350, 0.5 / 0.577351 = 0.866024
        # -2: mean 2, std sqrt((1 + 1 + 0) / 2) = 1, 1 / 1.000001 = 0.999999
        (
            group_advantage,
            [0.866024, 0.999999, -0.866024, -0.866024, 0, -0.999999, 0.866024, 0, 0, 0],
        ),
        # 7: 1 - 1/2 and 0 - 1/2; -2: 3 - 2, 1 - 2, 2 - 2
        (centred_advantage, [0.5, 1, -0.5, -0.5, 0, -1, 0.5, 0, 0, 0]),
        # 7: 1 - (0 + 0 + 1) / 3 = 2/3 and 0 - (1 + 0 + 1) / 3 = -2/3
        # -2: 3 - (1 + 2) / 2 = 3/2, 1 - (3 + 2) / 2 = -3/2, 2 - (3 + 1) / 2 = 0
        (leave_one_out_advantage, [2 / 3, 1.5, -2 / 3, -2 / 3, 0, -1.5, 2 / 3, 0, 0, 0]),
    ],
    ids=["group", "centred", "leave-one-out"],
)
def test_advantage_is_relative_to_the_group(advantage, expected):
    assert advantage(REWARD, GROUP) == pytest.approx(expected, abs=5e-7)


def test_epsilon_is_added_to_the_standard_deviation():
    # mean 1e-6, std sqrt(2) * 1e-6: 1e-6 / ((sqrt(2) + 1) * 1e-6) = sqrt(2) - 1
    assert group_advantage([0, 2e-6], [0, 0]) == pytest.approx([1 - 2**0.5, 2**0.5 - 1])


def test_hierarchical_adds_a_within_prompt_part_for_several_prompts():
    rollouts = rollouts_of(
        # across: mean 3/4, std sqrt((3 * 1/16 + 9/16) / 3) = 1/2: 1/2 and -3/2
        # within the first prompt: mean 1/2, std sqrt(1/2): +-0.707107; the second: equal, 0
        [[1, 0], [1, 1]],
        # One prompt: plain GRPO. mean 2, std 1
        [[3, 1, 2]],
        # One rollout a prompt: nothing within. mean 1, std sqrt(2): +-0.707107
        [[2], [0]],
        # across: mean 1, std sqrt((0 + 1 + 1) / 2) = 1; within: 1, 0 -> +-0.707107; one rollout
        [[1, 0], [2]],
    )
    across_N, within_N = ESTIMATORS["hierarchical"](rollouts)
    half = 0.707107
    assert across_N == pytest.approx(
        [0.5, -1.5, 0.5, 0.5, 1, -1, 0, half, -half, 0, -1, 1], abs=5e-6
    )
    assert within_N == pytest.approx([half, -half, 0, 0, 0, 0, 0, 0, 0, half, -half, 0], abs=5e-6)


def test_response_counts_once_in_question_statistics():
    # m = 2, n = 6, six of twelve right: std sqrt(12 * 1/4 / 11) = 0.522233, 0.5 / 0.522234.
    # Counted twice, as in the official code, it would be sqrt(24 * 1/4 / 23) = 0.510754.
    rollouts = rollouts_of([[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]])
    assert np.abs(ESTIMATORS["hierarchical"](rollouts).across_N) == pytest.approx(0.957426)


@pytest.mark.parametrize("name", ["group", "centred", "leave-one-out"])
def test_single_part_estimators_group_by_question(name):
    rollouts = rollouts_of([[1, 0], [0, 1]], [[5]])
    parts = ESTIMATORS[name](rollouts)
    by_hand = {"group": 0.866024, "centred": 0.5, "leave-one-out": 2 / 3}[name]
    assert parts.across_N == pytest.approx([by_hand, -by_hand, -by_hand, by_hand, 0], abs=1e-6)
    assert parts.within_N.tolist() == [0] * 5


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("reward", [0.1 + 0.2, 0.9 + 0.1 * 0.7, 1 / 3, -1e-9, 1e30, 0.0])
def test_equal_rewards_have_advantage_exactly_0(name, reward):
    rollouts = rollouts_of(*([[reward] * n, [reward]] for n in range(1, 60)))
    parts = ESTIMATORS[name](rollouts)
    assert not parts.across_N.any()
    assert not parts.within_N.any()


def by_definition(reward_N, group_N) -> dict[str, list[float]]:
    """The three advantages one rollout at a time, with Python's own statistics."""
    columns = {"group": [], "centred": [], "leave-one-out": []}
    for row, (reward, group) in enumerate(zip(reward_N, group_N, strict=True)):
        others = [float(r) for i, r in enumerate(reward_N) if group_N[i] == group and i != row]
        members = [*others, float(reward)]
        silent = len(set(members)) == 1
        centred = 0.0 if silent else reward - statistics.mean(members)
        columns["centred"].append(centred)
        columns["group"].append(0.0 if silent else centred / (statistics.stdev(members) + 1e-6))
        columns["leave-one-out"].append(0.0 if silent else reward - statistics.mean(others))
    return columns


@BOUNDED
@given(rollout_tables())
def test_estimators_match_their_definition_on_ragged_groups(rollouts):
    across = by_definition(rollouts.reward_N, rollouts.question_N)
    for name in across:
        assert ESTIMATORS[name](rollouts).across_N == pytest.approx(across[name], abs=1e-9)

    within = by_definition(rollouts.reward_N, rollouts.prompt_N)["group"]
    prompts = {
        question: len(np.unique(rollouts.prompt_N[rollouts.question_N == question]))
        for question in rollouts.question_N
    }
    expected = [
        part if prompts[question] > 1 else 0.0
        for part, question in zip(within, rollouts.question_N, strict=True)
    ]
    parts = ESTIMATORS["hierarchical"](rollouts)
    assert parts.across_N == pytest.approx(across["group"], abs=1e-9)
    assert parts.within_N == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@BOUNDED
@given(rollout_tables(NEARLY_BINARY))
def test_advantages_over_a_question_sum_to_0(name, rollouts):
    across_N = ESTIMATORS[name](rollouts).across_N
    _, index_N = np.unique(rollouts.question_N, return_inverse=True)
    assert np.bincount(index_N, across_N) == pytest.approx(0, abs=1e-9)


def test_functions_accept_lists():
    across_N, within_N = hierarchical_advantage([1, 0], [3, 3], [5, 6])
    assert across_N == pytest.approx([0.707106, -0.707106], abs=1e-6)
    assert within_N.tolist() == [0, 0]
