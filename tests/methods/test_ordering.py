"""Order and repetition of samples match values computed by hand from the papers."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from method_cases import (
    BOUNDED,
    CHI_SQUARE_LIMIT,
    chi_square,
    ranked_of,
    rollouts_of,
    seeded,
)

from vantage.errors import ConfigError
from vantage.methods import Rollouts, Samples, custom, recipe, update_of
from vantage.methods.ordering import SHAPES, WEIGHTS, advantage_shuffle, cuts, draw


def shuffled(
    rollouts: Rollouts,
    rounds: int,
    seed: int = 0,
    *,
    options: dict | None = None,
    done: float = 0.0,
    **stages,
) -> Samples:
    """Advantage shuffle of all pairs (unless told otherwise); a pair weighs its reward gap."""
    stages = {"estimator": "centred", "selection": {"name": "pairwise", "fraction": 1.0}, **stages}
    shuffle = {"name": "advantage-shuffle", "rounds": rounds, **(options or {})}
    return custom(**stages, ordering=shuffle).plan(rollouts, seeded(seed), done)


def gaps(*gaps: float) -> Rollouts:
    """A question of two rollouts for each gap between them."""
    return rollouts_of(*([[gap, 0.0]] for gap in gaps))


def rounds_of(samples: Samples, rounds: int) -> list[np.ndarray]:
    """Which question each unit of each round belongs to, for tables made by `gaps`."""
    question_U = samples.rollout_M[:: samples.unit_size] // 2
    return np.split(question_U, cuts(len(question_U), rounds)[1:-1])


def drawn_together(weights: list[float], size: int) -> dict[frozenset, float]:
    """Probability of each set when units are drawn one after another by weight, without return."""
    probability = Counter()
    for sequence in itertools.permutations(range(len(weights)), size):
        left, chance = sum(weights), 1.0
        for unit in sequence:
            chance *= weights[unit] / left
            left -= weights[unit]
        probability[frozenset(sequence)] += chance
    return probability


def test_first_draw_is_proportional_to_weight():
    drawn = [int(draw(np.log([4.0, 3.0, 2.0, 1.0]), 1, rng)[0]) for rng in [seeded()] * 10000]
    assert chi_square(np.bincount(drawn), [4000, 3000, 2000, 1000]) < CHI_SQUARE_LIMIT[3]


def test_round_is_drawn_without_replacement_by_weight():
    exact = drawn_together([4, 3, 2, 1], 2)
    # {0, 1}: 4/10 * 3/6 + 3/10 * 4/7 = 0.371429; {2, 3}: 2/10 * 1/8 + 1/10 * 2/9 = 0.047222
    assert exact[frozenset({0, 1})] == pytest.approx(0.371429, abs=1e-6)
    assert exact[frozenset({2, 3})] == pytest.approx(0.047222, abs=1e-6)
    weights, rng, count = np.log([4.0, 3.0, 2.0, 1.0]), seeded(), 10000
    seen = Counter(frozenset(draw(weights, 2, rng).tolist()) for _ in range(count))
    statistic = chi_square([seen[s] for s in exact], [count * p for p in exact.values()])
    assert statistic < CHI_SQUARE_LIMIT[5]


def test_rounds_of_a_plan_have_these_probabilities_and_are_independent():
    exact, count = drawn_together([4, 3, 2, 1], 2), 2000
    rollouts = gaps(4, 3, 2, 1)
    plans = [rounds_of(shuffled(rollouts, 2, seed), 2) for seed in range(count)]
    seen = [[frozenset(units.tolist()) for units in plan] for plan in plans]
    for nth in range(2):
        times = Counter(plan[nth] for plan in seen)
        statistic = chi_square([times[s] for s in exact], [count * p for p in exact.values()])
        assert statistic < CHI_SQUARE_LIMIT[5]
    same = sum(p * p for p in exact.values())
    observed = np.mean([first == second for first, second in seen])
    assert observed == pytest.approx(same, abs=4 * np.sqrt(same * (1 - same) / count))


def test_single_samples_are_weighted_by_absolute_advantage():
    # Mean 5, |A| = 3, 1, 2 and 0; one sample a round: 3/6, 1/6, 2/6 of 4 * 1,500 draws.
    rollouts, times = rollouts_of([[8, 4, 3, 5]]), np.zeros(4)
    for seed in range(1500):
        samples = shuffled(rollouts, 4, seed, selection="all")
        assert (samples.pair_M == -1).all()
        times += np.bincount(samples.rollout_M, minlength=4)
    assert times[3] == 0
    assert chi_square(times[:3], [3000, 1000, 2000]) < CHI_SQUARE_LIMIT[2]


def test_pair_weight_is_the_sum_of_absolute_advantages():
    # 3, 0, 0: mean 1, the pair has |A| = 2 and 1; 1, 0: 1/2 and 1/2. One pair a round: 3/4, 1/4.
    rollouts, times = rollouts_of([[3, 0, 0]], [[1, 0]]), Counter()
    for seed in range(1500):
        samples = shuffled(rollouts, 2, seed)
        times.update(rollouts.question_N[samples.rollout_M[::2]].tolist())
    assert chi_square([times[1], times[2]], [2250, 750]) < CHI_SQUARE_LIMIT[1]


def test_own_and_shared_samples_are_drawn_equally_often():
    # One pair, rows 0 and 1, both of prompt 10: under 10 its advantages have two parts and are
    # larger, under 11 one. One unit a round: each in half of the 2 * 1,500 rounds.
    rollouts = rollouts_of([[1, 0], [0.5]])
    under = Counter()
    for seed in range(1500):
        samples = shuffled(rollouts, 2, seed, estimator="hierarchical", sharing="all-prompts")
        magnitude = np.abs(samples.advantage_M)
        assert (magnitude[samples.prompt_M == 10] > 1.5).all()
        assert (magnitude[samples.prompt_M == 11] < 1.1).all()
        under.update(samples.prompt_M[::2].tolist())
    assert chi_square([under[10], under[11]], [1500, 1500]) < CHI_SQUARE_LIMIT[1]


def test_published_batch_has_8_rounds_of_256_pairs_and_2_rounds_per_update():
    reward_N = seeded().random(512 * 16)
    question_N = np.repeat(np.arange(512), 16)
    samples = recipe("shuffle-r1").plan(Rollouts(question_N, question_N, reward_N), seeded())
    assert len(samples) == 4096
    assert len(np.unique(samples.pair_M)) < 2048
    assert not samples.padding_M.any()
    for pair_M in np.split(samples.pair_M, 8):
        assert (pair_M[::2] == pair_M[1::2]).all()
        assert len(np.unique(pair_M)) == 256
    assert update_of(samples, 4).tolist() == np.repeat(range(4), 1024).tolist()
    rows_of_pair = {}
    for pair, rows in zip(samples.pair_M[::2], samples.rollout_M.reshape(-1, 2), strict=True):
        assert rows_of_pair.setdefault(pair, tuple(rows)) == tuple(rows)


@pytest.mark.parametrize(
    ("units", "rounds", "sizes"),
    [
        (2048, 8, [256] * 8),
        (10, 4, [2, 3, 2, 3]),
        (5, 3, [1, 2, 2]),
        (3, 8, [0, 0, 1, 0, 0, 1, 0, 1]),
        (0, 2, [0, 0]),
        (7, 1, [7]),
    ],
)
def test_rounds_differ_by_at_most_one_unit(units, rounds, sizes):
    assert np.diff(cuts(units, rounds)).tolist() == sizes


@BOUNDED
@given(
    st.lists(st.sampled_from([0.0, 0.0, 1.0, 1e-9, 3e29]), min_size=1, max_size=20),
    st.integers(1, 9),
    st.integers(0, 99),
    st.sampled_from(sorted(WEIGHTS)),
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from([0.0, 0.7, 1.0]),
)
def test_round_takes_weighted_units_first_then_filler(weights, rounds, seed, weight, shape, done):
    options = {"weight": weight, "shape": shape}
    samples = shuffled(gaps(*weights), rounds, seed, options=options, done=done)
    filler_U = samples.padding_M[::2]
    informative = {unit for unit, weight in enumerate(weights) if weight > 0}
    assert len(samples) == 2 * len(weights)
    assert (filler_U == samples.padding_M[1::2]).all()
    filler_rounds = np.split(filler_U, cuts(len(weights), rounds)[1:-1])
    for drawn, padding in zip(rounds_of(samples, rounds), filler_rounds, strict=True):
        trained = set(drawn[~padding].tolist())
        assert len(set(drawn.tolist())) == len(drawn), "without replacement"
        assert trained <= informative
        assert not set(drawn[padding].tolist()) & informative
        assert len(trained) == min(len(informative), len(drawn))


# ---- which weight, and how it is shaped. Units weigh 2 and 1, or as said. -----------------

# (shape, power, share of the training that is done) -> probability of the first unit.
SHAPED = {
    ("power", 1.0, 0.0): 2 / 3,
    ("power", 2.0, 0.0): 4 / 5,
    ("power", 0.0, 0.5): 1 / 2,
    ("softmax", 1.0, 0.0): 0.62246,  # e / (e + e^.5)
    ("softmax", 1.0, 0.5): 0.64240,  # 1 / (1 + exp(-1 / 1.70711))
    ("softmax", 1.0, 1.0): 0.73106,  # e^2 / (e^2 + e)
    ("log", 1.0, 0.0): 0.61315,  # ln 3 / (ln 3 + ln 2)
    ("log", 1.0, 1.0): 0.63093,  # ln 2 / (ln 2 + ln 1.5)
    ("inverse", 1.0, 0.0): 1 / 3,
}


@pytest.mark.parametrize(("shape", "power", "done"), SHAPED)
def test_units_are_drawn_by_shaped_weight(shape, power, done):
    first = SHAPED[shape, power, done]
    told = np.exp(SHAPES[shape](np.array([2.0, 1.0]), done, power))
    assert told / told.sum() == pytest.approx([first, 1 - first], abs=1e-5)
    options, times = {"shape": shape, "power": power}, np.zeros(2)
    for seed in range(1000):  # two rounds of one pair, whose weight is its gap
        samples = shuffled(gaps(2, 1), 2, seed, options=options, done=done)
        times += np.bincount(samples.rollout_M[::2] // 2, minlength=2)
    assert chi_square(times, [2000 * first, 2000 * (1 - first)]) < CHI_SQUARE_LIMIT[1]


@pytest.mark.parametrize(
    ("weight", "weights"),
    [
        ("sum", [2, 2, 3]),
        ("max", [1.5, 1.5, 2]),
        ("mean", [1, 1, 1.5]),
        ("positive", [1.5, 0.5, 0]),
    ],
)
def test_unit_weight_follows_from_its_members(weight, weights):
    across_UK = np.array([[1.5, -0.5], [0.5, -1.5], [-1.0, -2.0]])
    assert WEIGHTS[weight](across_UK).tolist() == weights


def test_pair_without_positive_advantage_is_filler_under_positive_weight():
    # Mean 1: the pair (4, 0) has |A| = 3 and 1, the pair (0, 0) 1 and 1, without a positive one.
    rollouts = rollouts_of([[4, 0, 0, 0]])
    summed = shuffled(rollouts, 1)
    positive = shuffled(rollouts, 1, options={"weight": "positive"})
    assert not summed.padding_M.any()
    assert positive.padding_M.tolist() == (~np.isin(positive.pair_M, [0])).tolist()
    assert (
        positive.advantage_M.tolist()
        == np.where(
            positive.padding_M,
            0,
            summed.advantage_M[
                [summed.rollout_M.tolist().index(row) for row in positive.rollout_M]
            ],
        ).tolist()
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": "summ"}, ["weight='summ'", "did you mean 'sum'"]),
        ({"weight": None}, ["weight=None", "sum", "positive"]),
        ({"shape": "softmx"}, ["shape='softmx'", "did you mean 'softmax'"]),
        ({"power": -1}, ["power=-1", "from 0"]),
        ({"power": float("nan")}, ["power=nan"]),
        ({"power": "2"}, ["power='2'"]),
        ({"power": True}, ["power=True"]),
        ({"shape": "log", "power": 2.0}, ["power=2.0", "'power', not to 'log'"]),
    ],
)
@pytest.mark.parametrize("name", ["shuffle-r1", "share-shuffle"])
def test_invalid_weight_options_raise_when_the_recipe_is_built(name, options, words):
    with pytest.raises(ConfigError) as caught:
        recipe(name, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "fillers"),
    [([0, 7, 0, 0], [0, 2, 3]), ([0, 0, 0, 0], [0, 1, 2, 3])],
    ids=["one informative pair", "all equal"],
)
def test_filler_is_drawn_uniformly_from_pairs_of_weight_0(weights, fillers):
    rollouts, times = gaps(*weights), Counter()
    for seed in range(1500):
        samples = shuffled(rollouts, 2, seed)
        assert samples.padding_M.tolist() == (samples.advantage_M == 0).tolist()
        times.update((samples.rollout_M[samples.padding_M][::2] // 2).tolist())
    each = sum(times.values()) / len(fillers)
    assert sorted(times) == fillers
    assert sum(times.values()) == 1500 * 2 * (2 - (7 in weights))
    assert chi_square([times[unit] for unit in fillers], each) < CHI_SQUARE_LIMIT[3]


def test_single_informative_pair_occurs_once_per_round():
    samples = shuffled(gaps(0, 0, 5, *[0] * 13), 4)
    for drawn, padding in zip(
        rounds_of(samples, 4), np.split(samples.padding_M[::2], 4), strict=True
    ):
        assert drawn[~padding].tolist() == [2]


def test_filler_has_zero_advantage_despite_a_within_prompt_part():
    # across: mean 1/2, so both 0.5 have 0 and their pair weighs nothing; within its prompt
    # each differs from the other rollout: +-0.707107.
    rollouts = rollouts_of([[1, 0.5], [0.5, 0]])
    samples = shuffled(rollouts, 1, estimator="hierarchical")
    assert samples.padding_M.tolist() == np.isin(samples.rollout_M, [1, 2]).tolist()
    assert (samples.advantage_M == 0).tolist() == samples.padding_M.tolist()


def test_pair_drawn_repeatedly_keeps_its_id_and_advantages():
    samples = shuffled(gaps(9, 0, 0, 0), 4)
    assert samples.rollout_M.tolist() == [0, 1] * 4
    assert len(np.unique(samples.pair_M)) == 1
    assert samples.advantage_M.tolist() == [4.5, -4.5] * 4


def test_filler_stays_filler_when_drawn():
    ranked = ranked_of(gaps(1, 2))
    samples = ranked.samples(np.arange(4))
    samples.padding_M[:] = True
    assert advantage_shuffle(samples, ranked, seeded(), rounds=2).padding_M.all()


def test_without_composition_samples_keep_rollout_order():
    rollouts = Rollouts([3, 1, 3, 1, 3], [30, 10, 30, 11, 31], [1, 2, 3, 4, 5])
    assert custom().plan(rollouts, seeded()).rollout_M.tolist() == [0, 1, 2, 3, 4]
    # Pairs (4, 0) of question 3 and (3, 1) of question 1, by their earlier row.
    pairs = custom(selection={"name": "pairwise", "fraction": 1.0}).plan(rollouts, seeded())
    assert pairs.rollout_M.tolist() == [4, 0, 3, 1]


@BOUNDED
@given(st.integers(0, 50), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_updates_consist_of_whole_rounds(units, updates, rounds_an_update, paired):
    samples = ranked_of(gaps(*[1.0] * max(units, 1))).samples(np.arange(units * (1 + paired)))
    if paired:
        samples.pair_M[:] = np.arange(len(samples)) // 2
    update_M = update_of(samples, updates)
    rounds = updates * rounds_an_update
    round_M = np.repeat(np.arange(rounds), np.diff(cuts(units, rounds)) * (1 + paired))
    assert update_M.tolist() == (round_M // rounds_an_update).tolist()


def test_updates_never_split_pairs_and_differ_by_at_most_one():
    # 5 pairs in 2 updates: 2 and 3 pairs.
    assert update_of(shuffled(gaps(1, 2, 3, 4, 5), 2), 2).tolist() == [0] * 4 + [1] * 6


@pytest.mark.parametrize("count", [0, -1, 2.0, "4", None])
def test_invalid_count_error_names_the_value(count):
    with pytest.raises(ConfigError, match=f"rounds={count!r}"):
        shuffled(gaps(1), count)
    with pytest.raises(ConfigError, match=f"updates={count!r}"):
        update_of(shuffled(gaps(1), 1), count)
