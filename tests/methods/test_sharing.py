"""Sharing matches the objective of Share-GRPO, computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from method_cases import BOUNDED, ranked_of, rollout_tables, rollouts_of, seeded

from vantage.methods.ranking import Ranked
from vantage.methods.rollouts import Samples
from vantage.methods.selection import SELECTIONS, keep_all, pairwise
from vantage.methods.sharing import all_prompts, original_prompt, own_prompt

# Questions with 2, 1 and 3 prompts, ragged; rows 0-3, 4-6, 7-9.
# Question 1: across 1/2, -3/2, 1/2, 1/2; within +-0.707107 under prompt 10, 0 under 11.
# Question 2: across 1, -1, 0 and nothing within, it has one prompt.
# Question 3: mean 1, std 1, across 0, -1, 1; one rollout a prompt, nothing within.
BATCH = rollouts_of([[1, 0], [1, 1]], [[3, 1, 2]], [[1], [0], [2]])


def shared(ranked: Ranked, selection: str = "all", **options) -> Samples:
    return all_prompts(SELECTIONS[selection](ranked, seeded(), **options), ranked)


def advantages(samples: Samples) -> dict[tuple[int, int], float]:
    """(prompt, rollout) -> advantage; each must be there once."""
    keys = list(zip(samples.prompt_M.tolist(), samples.rollout_M.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, samples.advantage_M, strict=True))


def test_own_prompt_has_both_advantage_parts_other_prompts_only_across():
    own, half = 0.707107, 0.5
    expected = {
        (10, 0): half + own, (11, 0): half,
        (10, 1): -1.5 - own, (11, 1): -1.5,
        (10, 2): half, (11, 2): half,
        (10, 3): half, (11, 3): half,
        (20, 4): 1, (20, 5): -1, (20, 6): 0,
        (30, 7): 0, (31, 7): 0, (32, 7): 0,
        (30, 8): -1, (31, 8): -1, (32, 8): -1,
        (30, 9): 1, (31, 9): 1, (32, 9): 1,
    }  # fmt: skip
    found = advantages(shared(ranked_of(BATCH, "hierarchical")))
    assert found == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("estimator", ["group", "centred", "leave-one-out"])
def test_single_part_advantage_is_the_same_under_every_prompt(estimator):
    ranked = ranked_of(BATCH, estimator)
    samples = shared(ranked)
    assert (samples.advantage_M == ranked.advantages.across_N[samples.rollout_M]).all()


def test_sample_weight_is_one_over_rollouts_and_squared_prompts():
    # 1 / (n V^2), relative to the mean of 10 rollouts over 6 prompts, n = 5/3.
    # Question 1: n = 2, V = 2; question 2: n = 3, V = 1; question 3: n = 1, V = 3.
    samples = shared(ranked_of(BATCH))
    weight_by_question = {1: 5 / 24, 2: 5 / 9, 3: 5 / 27}
    expected = [weight_by_question[q] for q in BATCH.question_N[samples.rollout_M]]
    assert samples.weight_M == pytest.approx(expected)


def test_question_weight_does_not_depend_on_its_prompts():
    # n = 4 rollouts a prompt: V * 4 * V samples of 1 / V^2 are 4 for V = 1, 2, 3.
    rollouts = rollouts_of([[1, 0, 1, 0]], [[1, 0, 1, 0]] * 2, [[1, 0, 1, 0]] * 3)
    samples = shared(ranked_of(rollouts))
    weight_Q = np.bincount(rollouts.question_N[samples.rollout_M], samples.weight_M)
    assert weight_Q[1:] == pytest.approx([4, 4, 4])


def test_question_with_equal_prompts_has_the_same_weight():
    # 8 rollouts over 3 prompts. Question 1: 8 samples of (8/3) / (2 * 4); question 2: 4 of
    # (8/3) / (4 * 1).
    rollouts = rollouts_of([[1, 0], [1, 0]], [[1, 0, 1, 0]])
    samples = shared(ranked_of(rollouts))
    weight_Q = np.bincount(rollouts.question_N[samples.rollout_M], samples.weight_M)
    assert weight_Q[1:] == pytest.approx([8 / 3, 8 / 3])


def test_shared_pair_becomes_one_pair_per_prompt():
    samples = shared(ranked_of(BATCH, "hierarchical"), "pairwise", fraction=0.5)
    # Question 1: row 1 is the worst and meets one of 0, 2, 3, at random: K = 2, one pair.
    # Question 2: rows 4 and 5; question 3: rows 9 and 8.
    halves = {}
    for pair, prompt, row in zip(
        samples.pair_M.tolist(), samples.prompt_M.tolist(), samples.rollout_M.tolist(), strict=True
    ):
        halves.setdefault(pair, []).append((prompt, row))
    better = samples.rollout_M[0]
    assert better in (0, 2, 3)
    assert sorted(halves.values()) == [
        [(10, better), (10, 1)],
        [(11, better), (11, 1)],
        [(20, 4), (20, 5)],
        [(30, 9), (30, 8)],
        [(31, 9), (31, 8)],
        [(32, 9), (32, 8)],
    ]


def test_without_sharing_samples_are_unchanged():
    ranked = ranked_of(BATCH)
    samples = keep_all(ranked, seeded())
    assert own_prompt(samples, ranked) is samples


@BOUNDED
@given(rollout_tables(), st.sampled_from(sorted(SELECTIONS)))
def test_sharing_trains_every_response_under_every_prompt(rollouts, selection):
    ranked = ranked_of(rollouts, "hierarchical")
    before = SELECTIONS[selection](ranked, seeded())
    own = dict(zip(before.rollout_M.tolist(), before.advantage_M, strict=True))
    expected = {}
    for row in own:
        question_N, generated = rollouts.question_N, rollouts.prompt_N[row]
        for prompt in set(rollouts.prompt_N[question_N == question_N[row]].tolist()):
            across = ranked.advantages.across_N[row]
            expected[prompt, row] = own[row] if prompt == generated else across
    assert advantages(all_prompts(before, ranked)) == expected


@BOUNDED
@given(rollout_tables())
def test_both_halves_of_a_pair_share_every_prompt(rollouts):
    ranked = ranked_of(rollouts)
    before = pairwise(ranked, seeded(), fraction=1.0)
    partners = set(map(tuple, before.rollout_M.reshape(-1, 2).tolist()))
    after = all_prompts(before, ranked)
    assert (after.prompt_M[::2] == after.prompt_M[1::2]).all()
    assert (after.pair_M[::2] == after.pair_M[1::2]).all()
    assert len(np.unique(after.pair_M)) == len(after) / 2
    assert set(map(tuple, after.rollout_M.reshape(-1, 2).tolist())) == partners


def test_moved_response_has_only_the_across_part():
    ranked = ranked_of(BATCH, "hierarchical")
    samples = original_prompt(keep_all(ranked, seeded()), ranked)
    own, half = 0.707107, 0.5
    assert advantages(samples) == pytest.approx(
        {
            (10, 0): half + own, (10, 1): -1.5 - own, (10, 2): half, (10, 3): half,
            (20, 4): 1, (20, 5): -1, (20, 6): 0,
            (30, 7): 0, (30, 8): -1, (30, 9): 1,
        },
        abs=5e-6,
    )  # fmt: skip
    assert (samples.weight_M == 1).all()


@BOUNDED
@given(st.data())
def test_original_prompt_keeps_pairs_and_rows(data):
    ranked = ranked_of(data.draw(rollout_tables()))
    before = pairwise(ranked, seeded(), fraction=0.5)
    after = original_prompt(before, ranked)
    assert (after.rollout_M == before.rollout_M).all()
    assert (after.pair_M == before.pair_M).all()
    lowest = {}
    for question, prompt in zip(ranked.rollouts.question_N, ranked.rollouts.prompt_N, strict=True):
        lowest[question] = min(prompt, lowest.get(question, prompt))
    home = [lowest[ranked.rollouts.question_N[row]] for row in after.rollout_M]
    assert after.prompt_M.tolist() == home
