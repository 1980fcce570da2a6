"""A replay plans recorded rollouts again."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import steps

from vantage.errors import InputError
from vantage.methods import RECIPES, Rollouts, recipe
from vantage.methods.ordering import update_of
from vantage.methods.recipe import parse_recipe
from vantage.record import About, Record, Recorder, Step
from vantage.record.replay import equal, measures, replay

OPTIONS = {"custom": {"selection": "max-variance", "sharing": "all-prompts"}}


def record_of(run, about: About, **options) -> Record:
    with Recorder(run, about) as recorder:
        for number in range(4):
            recorder.append(steps.made(number, about=about, **options))
    return Record(run)


@pytest.mark.parametrize("name", RECIPES)
def test_the_runs_own_recipe_reproduces_the_trained_plans(tmp_path, name):
    about = About("trl", {"name": name, **OPTIONS.get(name, {})}, seed=11, updates=4)
    found = replay(record_of(tmp_path, about), recipe(name, **OPTIONS.get(name, {})))
    assert found.same_B.all() and found.steps == [0, 1, 2, 3]
    for measure, values in found.done.items():
        np.testing.assert_array_equal(values, found.would[measure])


@pytest.mark.parametrize("name", RECIPES)
def test_another_recipe_is_applied_to_the_recorded_rollouts(tmp_path, name):
    reward_N = np.where(np.arange(32) % 5 == 1, np.nan, np.arange(32) * 7 % 4)
    about = About("trl", "grpo", seed=3, updates=2)
    record = record_of(tmp_path, about, reward_N=reward_N)
    other = recipe(name, **OPTIONS.get(name, {}))
    found = replay(record, other)
    for number in range(4):
        rollouts = steps.made(number, about=about, reward_N=reward_N).rollouts
        plan = other.plan(rollouts, np.random.default_rng([3, number]))
        for measure, value in measures(rollouts, plan, 2).items():
            assert found.would[measure][number] == value


def test_another_seed_gives_another_plan(tmp_path):
    about = About("trl", {"name": "shuffle-r1", "rounds": 4}, seed=1, updates=4)
    record = record_of(tmp_path, about)
    assert replay(record, recipe("shuffle-r1", rounds=4)).same_B.all()
    record.about = About("trl", about.recipe, seed=2, updates=4)
    assert not replay(record, recipe("shuffle-r1", rounds=4)).same_B.any()


def test_a_plan_that_depends_on_training_progress_is_reproduced(tmp_path, monkeypatch):
    annealed = {"name": "shuffle-r1", "rounds": 4, "shape": "softmax"}
    about = About("trl", annealed, seed=2, updates=4)
    with Recorder(tmp_path, about) as recorder:
        for number in range(4):
            reward_N = np.random.default_rng(number).random(32)
            recorder.append(steps.made(number, about=about, reward_N=reward_N, done=number / 4))
    record = Record(tmp_path)
    assert [record.done(step) for step in record.steps] == [0.0, 0.25, 0.5, 0.75]
    assert replay(record, parse_recipe(annealed)).same_B.all()
    monkeypatch.setattr(record, "done", lambda step: 0.0)
    assert not replay(record, parse_recipe(annealed)).same_B.all()


def test_a_record_without_training_progress_is_read(tmp_path):
    record = record_of(tmp_path, About("trl", "grpo", seed=1, updates=4))
    place = tmp_path / "record/steps/00000001/batch.parquet"
    pq.write_table(pq.read_table(place).drop_columns(["done"]), place)
    assert record.done(1) == 0.0
    assert replay(record, recipe("grpo")).same_B.all()


def test_measures_by_hand():
    rollouts = Rollouts([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1], [1, 0, 0, 0] + [1] * 4)
    plan = recipe("grpo").plan(rollouts, np.random.default_rng(0))
    told = measures(rollouts, plan, 2)
    assert told["trained_questions"] == 1 and told["samples_per_update"] == 4
    assert told["useful_share"] == 0.5 and told["repeats"] == 1


def test_plans_are_equal_if_every_value_is():
    one = steps.made(0).samples
    assert equal(one, one.take(np.arange(len(one))))
    assert not equal(one, one.take(np.arange(len(one))[::-1]))
    assert not equal(one, one.take(np.arange(len(one)), advantage_M=one.advantage_M + 1e-12))


def test_batches_without_a_score_are_skipped(tmp_path):
    empty = steps.made(1)
    nothing = empty.samples.take(np.zeros(0, dtype=np.int64))
    values = vars(empty) | {"reward_N": np.full(32, np.nan), "samples": nothing}
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(Step(**values | {"update_M": update_of(nothing, 4)}))
        with pytest.raises(InputError, match="has no scored rollout yet"):
            replay(Record(tmp_path), recipe("grpo"))
        recorder.append(steps.made(2))
    assert replay(Record(tmp_path), recipe("grpo")).steps == [2]
