"""Selected rollouts match values computed by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from method_cases import (
    BOUNDED,
    CHI_SQUARE_LIMIT,
    chi_square,
    pairs_of,
    permuted,
    ranked_of,
    rollout_tables,
    rollouts_of,
    seeded,
)

from vantage.errors import ConfigError
from vantage.methods import Rollouts
from vantage.methods.selection import (
    SELECTIONS,
    keep_all,
    max_variance,
    non_zero,
    pairwise,
    random,
    top_magnitude,
)


def kept(select, rollouts, seed=0, **options) -> list[int]:
    samples = select(ranked_of(rollouts, seed=seed), seeded(seed + 1), **options)
    assert (samples.pair_M == -1).all()
    return sorted(samples.rollout_M.tolist())


def halves(select, rollouts, seed=0, **options) -> list[tuple[int, int]]:
    return pairs_of(select(ranked_of(rollouts, seed=seed), seeded(seed + 1), **options))


# Best to worst: rows 1, 6, 3, 4, 7, 0, 5, 2, so K = 4 pairs: 1-2, 6-5, 3-0, 4-7.
EIGHT = [3, 8, 1, 6, 5, 2, 7, 4]
EIGHT_PAIRS = [(1, 2), (6, 5), (3, 0), (4, 7)]
# Best to worst: rows 1, 3, 4, 0, 2, so K = 2 pairs: 1-2, 3-0; row 4 has no partner.
FIVE = [2, 5, 1, 4, 3]
FIVE_PAIRS = [(1, 2), (3, 0)]


@pytest.mark.parametrize(
    ("rewards", "fraction", "expected"),
    [
        (EIGHT, 0.25, EIGHT_PAIRS[:1]),  # floor(0.25 * 4) = 1
        (EIGHT, 0.5, EIGHT_PAIRS[:2]),
        (EIGHT, 0.74, EIGHT_PAIRS[:2]),  # floor(2.96) = 2
        (EIGHT, 0.75, EIGHT_PAIRS[:3]),
        (EIGHT, 1, EIGHT_PAIRS),
        (FIVE, 0.25, FIVE_PAIRS[:1]),  # max(1, floor(0.25 * 2)) = max(1, 0) = 1
        (FIVE, 0.5, FIVE_PAIRS[:1]),
        (FIVE, 0.75, FIVE_PAIRS[:1]),  # floor(1.5) = 1
        (FIVE, 1, FIVE_PAIRS),
        ([1, 2], 0.25, [(1, 0)]),
        ([3, 2, 1], 1, [(0, 2)]),
        ([7], 1, []),
    ],
)
def test_pairwise_keeps_pairs_of_largest_contrast(rewards, fraction, expected):
    assert halves(pairwise, rollouts_of([rewards]), fraction=fraction) == expected


def test_pairwise_handles_ragged_groups():
    # Sizes 1, 2, 3, 4, 6 at fraction 0.5: pairs 0, max(1, floor(0.5)), max(1, floor(0.5)), 1, 1.
    # Rows start at 0, 1, 3, 6, 10.
    rollouts = rollouts_of([[5]], [[0, 1]], [[3, 1, 2]], [[4, 3, 2, 1]], [[1, 2, 3, 4, 5, 6]])
    assert halves(pairwise, rollouts, fraction=0.5) == [(2, 1), (3, 4), (6, 9), (15, 10)]


def test_pairwise_pairs_across_prompts_and_keeps_advantages():
    # Rewards 4, 1 | 2, 3: best row 0, then 3, 2, worst 1: pairs (0, 1), (3, 2).
    # across: mean 2.5, std sqrt((2.25 + 2.25 + 0.25 + 0.25) / 3) = 1.290994
    # 1.5 / 1.290994 = 1.161894, 0.5 / 1.290994 = 0.387298; within each prompt +-0.707107
    rollouts = rollouts_of([[4, 1], [2, 3]])
    samples = pairwise(ranked_of(rollouts, "hierarchical"), seeded(), fraction=1.0)
    assert pairs_of(samples) == [(0, 1), (3, 2)]
    assert samples.prompt_M.tolist() == [10, 10, 11, 11]
    assert samples.pair_M.tolist() == [0, 0, 1, 1]
    own = [1.161894 + 0.707107, -1.161894 - 0.707107, 0.387298 + 0.707107, -0.387298 - 0.707107]
    assert samples.advantage_M == pytest.approx(own, abs=5e-6)
    assert samples.weight_M.tolist() == [1] * 4
    assert not samples.padding_M.any()


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        # k = max(2, floor(fraction * 5)); sum of squares - (sum)^2 / k for i best and k - i worst:
        (0.2, [0, 1]),  # k = 2: {6, 0} 36 - 18 = 18, the largest
        (0.4, [0, 1]),
        # k = 3: {0, 1, 2} 5 - 3 = 2; {6, 0, 1} 37 - 49/3 = 20.7; {6, 4, 0} 52 - 100/3 = 18.7;
        # {6, 4, 2} 56 - 48 = 8
        (0.6, [0, 1, 3]),
        # k = 4: {6, 0, 1, 2} 41 - 81/4 = 20.75; {6, 4, 0, 1} 53 - 121/4 = 22.75;
        # {6, 4, 2, 0} 56 - 36 = 20
        (0.8, [0, 1, 2, 3]),
        (1, [0, 1, 2, 3, 4]),
    ],
)
def test_max_variance_keeps_rewards_of_maximal_variance(fraction, expected):
    assert kept(max_variance, rollouts_of([[6, 0, 4, 1, 2]]), fraction=fraction) == expected


@pytest.mark.parametrize("scale", [1, 1e-6, 1e9])
@BOUNDED
@given(
    st.lists(st.lists(st.integers(-3, 9), min_size=1, max_size=7), min_size=1, max_size=3),
    st.sampled_from([0.25, 0.5, 0.6, 0.75]),
)
def test_max_variance_matches_brute_force(scale, questions, fraction):
    # Rewards of different size in each question must not spoil each other's sums.
    rollouts = rollouts_of(*([[r * scale**q for r in group]] for q, group in enumerate(questions)))
    whole = [(q, reward) for q, group in enumerate(questions) for reward in group]
    rows = kept(max_variance, rollouts, fraction=fraction)
    for question, group in enumerate(questions):
        chosen = [whole[row][1] for row in rows if whole[row][0] == question]
        size = min(len(group), max(2, math.floor(fraction * len(group))))
        best = max(np.var(subset) for subset in itertools.combinations(group, size))
        assert len(chosen) == size
        assert np.var(chosen) == pytest.approx(best)


def test_non_zero_drops_questions_whose_rewards_are_all_equal():
    rollouts = rollouts_of(
        [[1, 1], [1]], [[0, 1]], [[0.1 + 0.2] * 3], [[5]], [[0], [0, 0.001]], [[0.0, -0.0]]
    )
    assert kept(non_zero, rollouts) == [3, 4, 9, 10, 11]


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        # Mean 5, |A| in proportion to 2, 5, 0, 4, 1: rows 1, 3, 0, 4, 2 in this order.
        (0.2, [1]),
        (0.4, [1, 3]),
        (0.6, [0, 1, 3]),
        (0.8, [0, 1, 3, 4]),
        (1, [0, 1, 2, 3, 4]),
        (0.1, [1]),  # max(1, floor(0.5)) = 1
    ],
)
def test_top_magnitude_keeps_the_largest_advantages_of_either_sign(fraction, expected):
    assert kept(top_magnitude, rollouts_of([[3, 10, 5, 1, 6]]), fraction=fraction) == expected


def test_top_magnitude_breaks_ties_at_random():
    assert {tuple(kept(top_magnitude, rollouts_of([[1, 0]]), seed)) for seed in range(20)} == {
        (0,),
        (1,),
    }


def test_random_keeps_each_rollout_of_a_question_equally_often():
    # 3,000 questions of 4, half kept: 1,500 of each place, standard deviation below 27.4.
    rollouts = rollouts_of(*([[3, 2, 1, 0]] for _ in range(3000)))
    rows = np.array(kept(random, rollouts, fraction=0.5))
    assert (np.bincount(rows // 4) == 2).all()
    assert np.bincount(rows % 4) == pytest.approx(1500, abs=4 * 27.4)


def test_all_keeps_every_rollout_once():
    assert kept(keep_all, rollouts_of([[1, 0], [1]], [[4]], [[2, 2]])) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("all", [0]),
        ("max-variance", [0]),
        ("random", [0]),
        ("top-magnitude", [0]),
        ("non-zero", []),
        ("pairwise", []),
    ],
)
def test_group_of_one_is_kept_or_dropped(name, rows):
    assert kept(SELECTIONS[name], rollouts_of([[1]])) == rows


WITH_KEEP = ["pairwise", "max-variance", "random", "top-magnitude"]


@pytest.mark.parametrize("name", WITH_KEEP)
@pytest.mark.parametrize("count", [7, 29, 57, 58, 100])
def test_integer_share_is_not_rounded_down(name, count):
    # In floats 0.29 * 100 = 28.999999999999996.
    size = 200 if name == "pairwise" else 100
    ranked = ranked_of(rollouts_of([list(range(size))]))
    samples = SELECTIONS[name](ranked, seeded(), fraction=count / 100)
    at_least = 2 if name == "max-variance" else 1
    assert len(samples) // samples.unit_size == max(count, at_least)


@pytest.mark.parametrize("name", WITH_KEEP)
@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, math.nan, math.inf, "0.5", None, [0.5]])
def test_invalid_share_error_names_the_value(name, fraction):
    with pytest.raises(ConfigError, match="fraction=") as caught:
        SELECTIONS[name](ranked_of(rollouts_of([[1, 0]])), seeded(), fraction=fraction)
    assert repr(fraction) in str(caught.value)


@BOUNDED
@given(rollout_tables(), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_pairs_are_sorted_by_descending_contrast(rollouts, fraction):
    ranked = ranked_of(rollouts)
    across_N, question_N = ranked.advantages.across_N, rollouts.question_N
    pairs = pairs_of(pairwise(ranked, seeded(), fraction=fraction))
    assert len({row for pair in pairs for row in pair}) == 2 * len(pairs)
    for better, worse in pairs:
        assert question_N[better] == question_N[worse]
        assert across_N[better] >= across_N[worse]
    for one, following in itertools.pairwise(pairs):
        if question_N[one[0]] == question_N[following[0]]:
            assert across_N[one[0]] >= across_N[following[0]]
            assert across_N[one[1]] <= across_N[following[1]]


@pytest.mark.parametrize(
    ("select", "fraction"), [(pairwise, 0.5), (max_variance, 0.5), (top_magnitude, 0.5)]
)
def test_ties_do_not_favour_a_prompt(select, fraction):
    # 2,000 questions, m = 2 adjacent prompts of n = 6, of each prompt 3 right and 3 wrong.
    # 6 of 12 rollouts are kept: 6,000 highs and 6,000 lows at most, standard deviation of the
    # share of a prompt at most sqrt(1/4 / 6000) = 0.0065. By row order it would be all or none.
    rollouts = rollouts_of(*([[1, 0] * 3, [0, 1] * 3] for _ in range(2000)))
    samples = select(ranked_of(rollouts), seeded(1), fraction=fraction)
    from_first_M = samples.prompt_M % 10 == 0
    high_M = samples.advantage_M > 0
    assert len(samples) == 12000
    assert from_first_M[high_M].mean() == pytest.approx(0.5, abs=4 * 0.0065)
    assert from_first_M[~high_M].mean() == pytest.approx(0.5, abs=4 * 0.0065)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]], ids=str)
def test_permuting_tied_rows_keeps_the_distribution_of_a_selection(order):
    # Two right (a, b) and two wrong (c, d): the kept pair is ac, ad, bc, bd, each in 1/4 of plans.
    rollouts = permuted(rollouts_of([[1, 1], [0, 0]]), np.array(order))
    seen = np.zeros((4, 4))
    for seed in range(2000):
        (better, worse), *none = halves(pairwise, rollouts, seed, fraction=0.5)
        assert not none
        seen[order[better], order[worse]] += 1
    assert seen[:2, 2:].sum() == 2000
    assert chi_square(seen[:2, 2:], np.full((2, 2), 500)) < CHI_SQUARE_LIMIT[3]


def test_interleaved_rows_do_not_mix_questions():
    rollouts = Rollouts([5, -1, 5, -1, 5, -1], [50, 1, 51, 1, 50, 2], [1, 30, 3, 10, 2, 20])
    assert halves(pairwise, rollouts, fraction=1.0) == [(1, 3), (2, 0)]
