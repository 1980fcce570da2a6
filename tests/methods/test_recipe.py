"""Recipes: their stages, invariants of all of them, and custom recipes."""

import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from method_cases import (
    BOUNDED,
    CHI_SQUARE_LIMIT,
    EVERY_RECIPE,
    chi_square,
    options_of,
    permuted,
    rollout_tables,
    rollouts_of,
    seeded,
    table,
)

import vantage
from vantage.errors import ConfigError, VantageError
from vantage.methods import RECIPES, Loss, Recipe, Rollouts, Samples, custom, recipe, register
from vantage.methods.ordering import cuts
from vantage.methods.recipe import parse_recipe
from vantage.methods.sharing import all_prompts

# ---------------------------------------------------------------- what every recipe promises

for_every_recipe = pytest.mark.parametrize("name", EVERY_RECIPE)
any_size = st.sampled_from([0.0, 1.0, 1 / 3, 0.1 + 0.2, 0.3, -1e30, 1e30, 5e-324, -7.5])


@st.composite
def plans(draw, name: str, rollouts=None) -> tuple[Recipe, dict, Rollouts, Samples]:
    """A plan of the recipe `name` with any options, and what it was made from."""
    options = draw(options_of(name))
    rollouts = draw(rollout_tables() if rollouts is None else rollouts)
    made = recipe(name, **options)
    return made, options, rollouts, made.plan(rollouts, seeded(draw(st.integers(0, 99))))


PUBLISHED_SELECTION = {
    "pods": ("max-variance", 0.25),
    "dapo-filter": ("non-zero", None),
    "shuffle-r1": ("pairwise", 0.5),
    "share-shuffle": ("pairwise", 0.5),
}


def selection_of(name: str, options: dict) -> tuple[str, float | None]:
    """Name and share of the selection that a recipe with these options makes."""
    selection, fraction = PUBLISHED_SELECTION.get(name, ("all", None))
    chosen = options.get("selection", selection)
    if isinstance(chosen, dict):
        return chosen["name"], chosen["fraction"]
    if name == "custom":
        return chosen, 0.25 if chosen == "max-variance" else 0.5
    return selection, options.get("fraction", fraction)


def rows_kept(selection: str, fraction: float | None, rewards: list[float]) -> int:
    """Rollouts that are left of a question, by the definition of each selection."""
    size, pairs = len(rewards), len(rewards) // 2
    match selection:
        case "all":
            return size
        case "non-zero":
            return size if len(set(rewards)) > 1 else 0
        case "pairwise":
            return 2 * min(pairs, max(1, int(fraction * pairs)))
        case "max-variance":
            return min(size, max(2, int(fraction * size)))
    return max(1, int(fraction * size))


@for_every_recipe
@BOUNDED
@given(st.data())
def test_plan_has_the_documented_shape(name, data):
    made, options, rollouts, samples = data.draw(plans(name))
    selection, fraction = selection_of(name, options)
    rows = 0
    for question in np.unique(rollouts.question_N):
        mine_N = rollouts.question_N == question
        multiplied = made.sharing is all_prompts
        prompts = len(np.unique(rollouts.prompt_N[mine_N])) if multiplied else 1
        rows += prompts * rows_kept(selection, fraction, rollouts.reward_N[mine_N].tolist())
    assert {len(column) for column in vars(samples).values()} == {rows}
    assert [column.dtype.kind for column in vars(samples).values()] == list("iifibf")


@for_every_recipe
@BOUNDED
@given(st.data())
def test_plan_is_finite_for_rewards_of_any_magnitude(name, data):
    _, _, _, samples = data.draw(plans(name, rollout_tables(any_size)))
    assert np.isfinite(table(samples)).all()


@for_every_recipe
@BOUNDED
@given(st.data())
def test_sample_prompt_belongs_to_the_question_of_its_rollout(name, data):
    made, _, rollouts, samples = data.draw(plans(name))
    question_of = dict(zip(rollouts.prompt_N.tolist(), rollouts.question_N, strict=True))
    for prompt, row in zip(samples.prompt_M.tolist(), samples.rollout_M, strict=True):
        assert question_of[prompt] == rollouts.question_N[row]
    if not made.shares:
        assert (samples.prompt_M == rollouts.prompt_N[samples.rollout_M]).all()


@for_every_recipe
@BOUNDED
@given(st.data())
def test_filler_and_equal_rewards_have_zero_advantage(name, data):
    _, _, rollouts, samples = data.draw(plans(name))
    assert not samples.advantage_M[samples.padding_M].any()
    for question in np.unique(rollouts.question_N):
        if len(set(rollouts.reward_N[rollouts.question_N == question])) == 1:
            mine_M = rollouts.question_N[samples.rollout_M] == question
            assert not samples.advantage_M[mine_M].any()


@for_every_recipe
@BOUNDED
@given(st.data())
def test_pairs_are_adjacent_better_first_and_share_a_prompt(name, data):
    made, _, rollouts, samples = data.draw(plans(name))
    if samples.unit_size == 1:
        assert (samples.pair_M == -1).all()
        return
    halves = [samples.take(np.arange(half, len(samples), 2)) for half in (0, 1)]
    better, worse = halves
    assert (better.pair_M == worse.pair_M).all()
    if made.shares:
        assert (better.prompt_M == worse.prompt_M).all()
    assert (better.padding_M == worse.padding_M).all()
    assert (better.rollout_M != worse.rollout_M).all()
    reward_N = rollouts.reward_N
    assert (reward_N[better.rollout_M] >= reward_N[worse.rollout_M]).all()
    units = set(zip(better.pair_M, better.prompt_M, better.rollout_M, worse.rollout_M, strict=True))
    assert len(units) == len({pair for pair, *_ in units})


@for_every_recipe
@BOUNDED
@given(st.data())
def test_sample_occurs_at_most_once_per_round(name, data):
    made, _, _, samples = data.draw(plans(name))
    unit_U = list(zip(samples.prompt_M.tolist(), samples.rollout_M.tolist(), strict=True))
    unit_U = unit_U[:: samples.unit_size]
    limits = cuts(len(unit_U), made.rounds or 1)
    for start, stop in itertools.pairwise(limits):
        assert len(set(unit_U[start:stop])) == stop - start


@for_every_recipe
@BOUNDED
@given(st.data())
def test_same_seed_gives_the_same_plan_without_changing_rollouts(name, data):
    made = recipe(name, **data.draw(options_of(name)))
    rollouts = data.draw(rollout_tables())
    before = [column.copy() for column in vars(rollouts).values()]
    one, other = (made.plan(rollouts, seeded(5)) for _ in range(2))
    assert (table(one) == table(other)).all()
    for column, old in zip(vars(rollouts).values(), before, strict=True):
        assert (column == old).all()


@for_every_recipe
@BOUNDED
@given(st.data())
def test_permuting_rows_permutes_the_plan_without_ties(name, data):
    made, _, rollouts, _ = data.draw(plans(name, rollout_tables(differ=True)))
    order = seeded(data.draw(st.integers(0, 99))).permutation(len(rollouts))
    one = made.plan(rollouts, seeded(3))
    other = made.plan(permuted(rollouts, order), seeded(3))
    mapped = other.take(np.arange(len(other)), rollout_M=order[other.rollout_M])
    if made.rounds is None:  # then samples come in the order of the rows: compare without it
        one, mapped = (s.take(np.lexsort((s.prompt_M, s.rollout_M))) for s in (one, mapped))
    assert table(mapped) == pytest.approx(table(one), rel=1e-9)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]], ids=str)
@pytest.mark.parametrize("name", ["shuffle-r1", "share-shuffle"])
def test_permuting_tied_rows_keeps_the_distribution_of_plans(name, order):
    # Rows 0-2 are right, 3-5 wrong; one pair is kept: each of 9 with probability 1/9, by
    # symmetry each right and each wrong row with 1/3.
    rollouts = permuted(rollouts_of([[1, 1], [1, 0], [0, 0]]), np.array(order))
    made, times = recipe(name, fraction=0.25, rounds=1), np.zeros(6)
    for seed in range(1500):
        samples = made.plan(rollouts, seeded(seed))
        times += np.bincount(np.array(order)[np.unique(samples.rollout_M)], minlength=6)
    assert chi_square(times[:3], 500) < CHI_SQUARE_LIMIT[2]
    assert chi_square(times[3:], 500) < CHI_SQUARE_LIMIT[2]


@pytest.mark.parametrize("name", ["shuffle-r1", "share-shuffle", "pods"])
def test_seed_breaks_ties(name):
    rollouts = rollouts_of([[1, 0, 1, 0], [0, 1, 0, 1]])
    plans = [table(recipe(name).plan(rollouts, seeded(seed))).tobytes() for seed in range(8)]
    assert len(set(plans)) > 1


@for_every_recipe
@pytest.mark.parametrize(
    "questions",
    [[[[1.0]]], [[[0.0]], [[1.0]]], [[[1.0, 1.0]] * 2] * 3, [[[0.3], [0.1 + 0.2]]]],
    ids=["one rollout", "groups of one", "all equal", "equal to a rounding"],
)
def test_batch_without_gradient_gives_a_valid_plan(name, questions):
    samples = recipe(name).plan(rollouts_of(*questions), seeded())
    assert samples.advantage_M == pytest.approx(0, abs=1e-9)


# ------------------------------------------------------------- what the published recipes are


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grpo", {(10, 0): 0.866024, (10, 1): -0.866024, (11, 2): -0.866024, (11, 3): 0.866024}),
        ("dr-grpo", {(10, 0): 0.5, (10, 1): -0.5, (11, 2): -0.5, (11, 3): 0.5}),
        ("rloo", {(10, 0): 2 / 3, (10, 1): -2 / 3, (11, 2): -2 / 3, (11, 3): 2 / 3}),
        # across + within under its own prompt: 0.866024 + 0.707106; across under the other
        (
            "share-grpo",
            {
                (10, 0): 1.573130, (11, 0): 0.866024, (10, 1): -1.573130, (11, 1): -0.866024,
                (10, 2): -0.866024, (11, 2): -1.573130, (10, 3): 0.866024, (11, 3): 1.573130,
            },
        ),
    ],
)  # fmt: skip
def test_plan_of_two_prompts_with_one_right_rollout_each(name, expected):
    samples = recipe(name).plan(rollouts_of([[1, 0], [0, 1]]), seeded())
    keys = zip(samples.prompt_M.tolist(), samples.rollout_M.tolist(), strict=True)
    assert dict(zip(keys, samples.advantage_M, strict=True)) == pytest.approx(expected, abs=2e-6)
    assert len(samples) == len(expected)


def test_share_shuffle_shares_and_shuffles_pairs():
    # Best to worst: rows 0, 2, 3, 1. fraction 0.5 of 2 pairs: rows 0 and 1, under both prompts, so
    # two units that weigh the same. across: mean 2.5, std 1.290994: +-1.161894; within +-0.707107
    rollouts = rollouts_of([[4, 1], [3, 2]])
    seen = Counter()
    for seed in range(40):
        samples = recipe("share-shuffle", rounds=2).plan(rollouts, seeded(seed))
        assert samples.rollout_M.tolist() == [0, 1, 0, 1]
        assert samples.weight_M.tolist() == [1 / 4] * 4
        for prompt, advantage in zip(samples.prompt_M[::2], samples.advantage_M[::2], strict=True):
            by_hand = 1.161894 + (0.707107 if prompt == 10 else 0)
            assert advantage == pytest.approx(by_hand, abs=5e-6)
        assert (samples.advantage_M[::2] == -samples.advantage_M[1::2]).all()
        seen[tuple(samples.prompt_M[::2])] += 1
    assert set(seen) == {(10, 10), (10, 11), (11, 10), (11, 11)}


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("grpo", Loss()),
        ("dr-grpo", Loss(mean="constant")),
        ("rloo", Loss()),
        (
            "gspo",
            Loss(mean="sequence", ratio="sequence", clip_low=3e-4, clip_high=4e-4, updates=4),
        ),
        ("pods", Loss()),
        ("dapo-filter", Loss(clip_high=0.28, updates=16)),
        ("shuffle-r1", Loss(updates=4)),
        ("share-grpo", Loss(clip_high=0.3, dual_clip=3.0, updates=8)),
        ("noisy-rollout", Loss(updates=4)),
        ("share-shuffle", Loss(clip_high=0.3, dual_clip=3.0, updates=4)),
    ],
)
def test_recipe_has_the_published_loss(name, loss):
    assert recipe(name).name == name
    assert recipe(name).loss == loss


def test_default_loss_is_a_token_mean_clipped_at_0_2_without_kl():
    loss = Loss()
    assert (loss.mean, loss.ratio, loss.kl, loss.updates) == ("token", "token", 0, None)
    assert (loss.clip_low, loss.clip_high) == (0.2, 0.2)


def test_documented_updates_match_the_recipes():
    page = Path(__file__).parents[2] / "docs" / "recipes.md"
    rows = re.findall(r"^\| (`.*) \| (\d+).* \|$", page.read_text(), flags=re.MULTILINE)
    told = {n: int(u) for names, u in rows for n in re.findall(r"`(.*?)`", names) if n in RECIPES}
    assert told == {name: recipe(name).loss.updates or 1 for name in RECIPES}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("pods", {"fraction": 0.25}),
        (
            "shuffle-r1",
            {"fraction": 0.5, "rounds": 8, "weight": "sum", "shape": "power", "power": 1},
        ),
        ("share-shuffle", {"fraction": 0.5, "rounds": 8, "weight": "sum", "shape": "power"}),
    ],
)
def test_options_default_to_the_published_settings(name, published):
    rollouts = rollouts_of(*([list(range(16))] for _ in range(4)))
    default = recipe(name).plan(rollouts, seeded())
    given = recipe(name, **published).plan(rollouts, seeded())
    assert (table(default) == table(given)).all()


@pytest.mark.parametrize(
    ("name", "rounds", "shares"),
    [
        ("grpo", None, False),
        ("shuffle-r1", 8, False),
        ("share-grpo", None, True),
        ("share-shuffle", 8, True),
        ("custom", None, False),
    ],
)
def test_recipe_exposes_rounds_and_sharing(name, rounds, shares):
    assert recipe(name).rounds == rounds
    assert recipe(name).shares == shares


def test_composed_stages_equal_named_recipes():
    shuffle_r1 = custom(
        selection={"name": "pairwise", "fraction": 0.75},
        ordering={"name": "advantage-shuffle", "rounds": 4},
    )
    rollouts = rollouts_of(*([[1, 0, 1, 1], [0, 0, 1]] for _ in range(5)))
    plans = [
        made.plan(rollouts, seeded(1))
        for made in (shuffle_r1, recipe("shuffle-r1", fraction=0.75, rounds=4))
    ]
    assert (table(plans[0]) == table(plans[1])).all()
    assert shuffle_r1.rounds == 4


# -------------------------------------------------------------------------- bad names, options


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("shufle-r1", {}, ["'shufle-r1'", "did you mean 'shuffle-r1'"]),
        ("zzzzz", {}, ["'zzzzz'", "known:", "grpo", "share-shuffle"]),
        ("shuffle-r1", {"fracton": 0.5}, ["'fracton'", "did you mean 'fraction'"]),
        ("grpo", {"fraction": 0.5}, ["'grpo'", "'fraction'", "it has none"]),
        ("shuffle-r1", {"fraction": 0}, ["fraction=0"]),
        ("pods", {"fraction": 1.5}, ["fraction=1.5"]),
        ("pods", {"fraction": "half"}, ["fraction='half'"]),
        ("share-shuffle", {"rounds": 0}, ["rounds=0"]),
        ("shuffle-r1", {"rounds": 2.5}, ["rounds=2.5"]),
        ("custom", {"estimator": "grp"}, ["estimator 'grp'", "did you mean 'group'"]),
        ("custom", {"selection": "pairwize"}, ["selection 'pairwize'", "'pairwise'"]),
        ("custom", {"selection": {"name": "pairwise", "fracion": 1}}, ["'fracion'", "'fraction'"]),
        ("custom", {"selection": {"name": "all", "fraction": 1}}, ["'all'", "'fraction'", "none"]),
        ("custom", {"selection": {"fraction": 1}}, ["selection={'fraction': 1}", "name"]),
        ("custom", {"selection": None}, ["selection=None", "name"]),
        ("custom", {"selection": ["pairwise"]}, ["selection=['pairwise']"]),
        ("custom", {"sharing": "all-prompt"}, ["sharing 'all-prompt'", "'all-prompts'"]),
        ("custom", {"ordering": {"name": "advantage-shuffle", "rounds": -1}}, ["rounds=-1"]),
        ("missing.py:mine", {}, ["missing.py"]),
        ("no_such_package.recipes:mine", {}, ["no_such_package"]),
        ("statistics:meen", {}, ["'meen'", "did you mean 'mean'"]),
    ],
)
def test_invalid_recipe_error_suggests_the_closest_name(name, options, named):
    with pytest.raises(ConfigError) as caught:
        vantage.recipe(name, **options)
    assert isinstance(caught.value, VantageError)
    assert isinstance(caught.value, ValueError)
    missing = [words for words in named if words not in str(caught.value)]
    assert not missing, str(caught.value)


@pytest.mark.parametrize(
    "spec",
    ["shuffle-r1", {"name": "shuffle-r1"}, {"name": "shuffle-r1", "rounds": 8, "fraction": 0.5}],
)
def test_configuration_names_a_recipe_with_or_without_options(spec):
    rollouts = rollouts_of(*([list(range(8))] for _ in range(4)))
    expected = recipe("shuffle-r1").plan(rollouts, seeded())
    assert (table(parse_recipe(spec).plan(rollouts, seeded())) == table(expected)).all()


@pytest.mark.parametrize("spec", [None, 3, {}, {"rounds": 8}, {"name": None}, ["grpo"]], ids=str)
def test_configuration_without_recipe_name_error_quotes_it(spec):
    with pytest.raises(ConfigError) as caught:
        parse_recipe(spec)
    assert f"recipe={spec!r}" in str(caught.value)


# --------------------------------------------------------------------- a method of your own

MINE = '''
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import vantage
from vantage.methods.advantages import Advantages


@dataclass(frozen=True)
class Signs:
    """Right or wrong, by a bound."""

    bound: float = 0.5

    def __call__(self, rollouts: vantage.Rollouts) -> Advantages:
        sign_N = np.where(rollouts.reward_N > self.bound, 1.0, -1.0)
        return Advantages(sign_N, np.zeros_like(sign_N))


def mine(bound: float = 0.5) -> vantage.Recipe:
    return vantage.Recipe("mine", estimator=Signs(bound))


def second_half(samples, ranked, rng):
    return samples.take(np.arange(len(samples)) if ranked.done >= 0.5 else [0])


def halves():
    return vantage.Recipe("halves", ordering=second_half)


def not_a_recipe():
    return "grpo"


def not_a_plan():
    return vantage.Recipe("empty", ordering=lambda samples, ranked, rng: None)


def nothing_selected():
    return vantage.Recipe("empty", selection=lambda ranked, rng: None)
'''


@pytest.fixture
def my_folder(tmp_path, monkeypatch):
    (tmp_path / "my_file.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("where", ["my_file.py", "{folder}/my_file.py", "my_file"])
def test_custom_recipe_is_loaded_from_file_or_module(my_folder, where):
    made = recipe(f"{where.format(folder=my_folder)}:mine", bound=0.7)
    samples = made.plan(rollouts_of([[0.6, 0.8]]), seeded())
    assert made.name == "mine"
    assert samples.advantage_M.tolist() == [-1, 1]


def test_custom_composition_sees_training_progress(my_folder):
    made, rollouts = recipe("my_file.py:halves"), rollouts_of([[1, 0, 0, 0]])
    assert [len(made.plan(rollouts, seeded(), done)) for done in (0.0, 0.4, 0.5, 1.0)] == [
        1,
        1,
        4,
        4,
    ]
    assert len(made.plan(rollouts, seeded())) == 1


@pytest.mark.parametrize(
    ("function", "options", "named"),
    [
        ("mime", {}, ["no function 'mime'", "did you mean 'mine'"]),
        ("mine", {"bond": 1}, ["'bond'", "did you mean 'bound'"]),
        ("not_a_recipe", {}, ["returned str", "Recipe"]),
        ("not_a_plan", {}, ["its ordering returned", "expected Samples"]),
        ("nothing_selected", {}, ["its selection returned NoneType, expected Samples"]),
    ],
)
def test_invalid_custom_recipe_raises(my_folder, function, options, named):
    with pytest.raises(ConfigError) as caught:
        recipe(f"my_file.py:{function}", **options)
    missing = [words for words in named if words not in str(caught.value)]
    assert not missing, str(caught.value)


def test_registered_recipe_is_found_by_name(monkeypatch):
    monkeypatch.setitem(RECIPES, "mine", None)  # taken out again after the test

    @register("mine")
    def mine(fraction: float = 0.5) -> Recipe:
        return custom(selection={"name": "random", "fraction": fraction})

    assert len(recipe("mine", fraction=0.25).plan(rollouts_of([[1, 2, 3, 4]]), seeded())) == 1
