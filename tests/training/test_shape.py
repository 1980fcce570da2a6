"""Sizes of a rollout batch, computed by hand."""

from __future__ import annotations

import pytest

from vantage import config as configuration
from vantage.errors import ConfigError
from vantage.methods.recipe import recipe
from vantage.questions.variants import Variants
from vantage.training.shape import Pace, Shape, check_recipe, largest_divisor, shape_of

SMALL = Shape(questions=3, prompts=2, rollouts=5, updates=4, passes=2)
TWO = Variants(prompts=2, rewrites="other")


def test_batch_sizes():
    assert (SMALL.asked, SMALL.generated, SMALL.steps) == (6, 30, 8)
    assert str(SMALL) == "3 questions x 2 prompts x 5 rollouts = 30 rollouts, 8 updates"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(100, Pace(33, 264, 990)), (3, Pace(1, 8, 30)), (2, Pace(1, 8, 30))],
)
def test_epoch_has_the_same_number_of_batches_as_the_trainer(rows, expected):
    assert SMALL.pace(rows) == expected


@pytest.mark.parametrize(
    ("rollouts", "updates", "processes", "each"),
    [
        (8, 4, 1, 12),
        (8, 4, 3, 4),
        (5, 1, 2, 15),
        (5, 4, 1, None),
        (8, 4, 5, None),
        (8, 64, 1, None),
    ],
)
def test_rollouts_must_divide_into_processes_and_updates(rollouts, updates, processes, each):
    shape = Shape(3, 2, rollouts, updates)
    if each is not None:
        assert shape.each(processes) == each
        return
    with pytest.raises(ConfigError, match=f"{6 * rollouts} rollouts"):
        shape.each(processes)


def test_updates_default_to_the_recipe():
    def shape(**options):
        given = {
            "model": {"path": "m"},
            "data": {"train": "d"},
            "run": {"output": "o", "epochs": 1},
        }
        return shape_of(configuration.parse({**given, **options}))

    assert shape(recipe="shuffle-r1").updates == recipe("shuffle-r1").loss.updates
    assert shape(recipe="shuffle-r1", batch={"updates": 2}).updates == 2
    variants = {"prompts": 2, "rewrites": "other"}
    batch = {"questions": 3, "rollouts": 5, "updates": 4}
    assert shape(batch=batch, variants=variants) == Shape(3, 2, 5, 4)


@pytest.mark.parametrize(
    ("name", "variants", "updates", "words"),
    [
        ("shuffle-r1", Variants(), 4, None),
        ("shuffle-r1", Variants(), 3, "not a multiple of the 3 updates .* 6 or 9 would do"),
        ("shuffle-r1", Variants(), 16, "not a multiple of the 16 updates .*; 16 would do"),
        ("share-grpo", TWO, 3, None),
        ("share-grpo", Variants(), 1, "variants.prompts is 1"),
        ("noisy-rollout", TWO, 1, None),
    ],
)
def test_a_recipe_needs_its_prompts_and_updates(name, variants, updates, words):
    if words is None:
        check_recipe(recipe(name), variants, updates)
        return
    with pytest.raises(ConfigError, match=words):
        check_recipe(recipe(name), variants, updates)


def test_the_largest_divisor():
    assert [largest_divisor(12, most) for most in (1, 5, 7, 12, 99)] == [1, 4, 6, 12, 12]
