"""The completions table shows the rollouts and advantages of the plan."""

from collections import deque

import numpy as np
import pandas as pd
import pytest
from training_cases import Reward, mixed_rows, trained

from vantage.methods import Samples
from vantage.training.trl import completions

TWO_PROMPTS = {"prompts": 2, "rewrites": "new_questions"}
NAN = float("nan")


class Logging(Reward):
    """A reward that adds a column to the table."""

    def __call__(self, prompts, completion_ids, log_extra, **columns):
        log_extra("place", list(range(len(completion_ids))))
        return super().__call__(prompts, completion_ids, **columns)


def table(tmp_path, step: int) -> pd.DataFrame:
    return pd.read_parquet(tmp_path / "completions" / f"completions_{step:05d}.parquet")


def by_hand(made) -> list[float]:
    """Mean advantage of the samples of each scored rollout, row by row."""
    found = {n: [] for n in range(len(made.batch.plan.rollouts))}
    samples = made.batch.plan.of_rollouts
    for rollout, advantage, padding in zip(
        samples.rollout_M, samples.advantage_M, samples.padding_M, strict=True
    ):
        if not padding:
            found[rollout].append(advantage)
    return [np.mean(values) if values else NAN for values in found.values()]


CASES = {
    "grpo": {},
    "half of the pairs, shuffled": {"recipe": {"name": "shuffle-r1", "fraction": 0.5, "rounds": 2}},
    "shared": {"recipe": "share-grpo", "variants": TWO_PROMPTS, "steps_per_generation": 4},
}


@pytest.mark.parametrize("case", CASES)
def test_completions_table_has_the_trained_advantages(case, tiny_model, tmp_path):
    options = {"log_completions": True, "reward": Logging(), **CASES[case]}
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, **options)
    shown = table(tmp_path, made.state.global_step)
    assert (
        shown["reward"].tolist()
        == made.batch.plan.rollouts.reward_N.tolist()
        == made.reward_funcs[0].rewards
    )
    assert shown["place"].tolist() == list(range(len(made.batch.plan.rollouts)))
    assert shown["advantage"].tolist() == pytest.approx(by_hand(made), nan_ok=True)
    assert {*shown.columns} == {"step", "prompt", "completion", "reward", "place", "advantage"}
    dropped = shown["advantage"].isna().sum()
    assert dropped == (
        len(shown) - len({*made.batch.samples.rollout_M[~made.batch.samples.padding_M]})
    )


def test_unscored_rollouts_have_no_advantage(tiny_model, tmp_path):
    reward = Reward(unscored=3)
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, reward=reward, log_completions=True)
    shown = table(tmp_path, 2)
    unscored = shown["reward"].isna()
    assert unscored.any() and not unscored.all()
    assert shown["advantage"].isna()[unscored].all()
    assert shown["advantage"][~unscored].tolist() == pytest.approx(by_hand(made), nan_ok=True)


class Numbered(Reward):
    """Silent for the first four questions."""

    def __call__(self, completion_ids, answer, **columns):
        quiet = [int(number) < 4 for number in answer]
        return [1.0 if q else float(place % 2) for place, q in enumerate(quiet)]


def test_replaced_questions_are_not_in_the_completions_table(tiny_model, tmp_path):
    made, _ = trained(
        tiny_model,
        mixed_rows(8),
        tmp_path,
        reward=Numbered(),
        recipe={"name": "dapo-filter", "refills": 8},
        log_completions=True,
    )
    shown = table(tmp_path, 2)
    assert shown["reward"].tolist() == [0.0, 1.0] * 8
    assert shown["advantage"].tolist() == pytest.approx(by_hand(made))
    assert set(shown["advantage"].round(3)) == {-0.866, 0.866}


def test_validation_makes_no_plan(tiny_model, tmp_path):
    rows = mixed_rows(4)
    options = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 4}
    rest = {"eval_dataset": rows.select([0])}
    trained(tiny_model, rows, tmp_path, log_completions=True, rest=rest, **options)
    shown = table(tmp_path, 2)  # TRL writes it after the evaluation again
    assert shown["advantage"].isna().tolist()[-4:] == [True] * 4


def test_rollout_trained_repeatedly_shows_its_mean_advantage():
    samples = Samples(
        prompt_M=np.array([0, 1, 0, 0]),
        rollout_M=np.array([2, 2, 0, 1]),
        advantage_M=np.array([1.0, 0.5, -1.0, 9.0]),
        pair_M=np.array([-1] * 4),
        padding_M=np.array([False, False, False, True]),
        weight_M=np.ones(4),
    )
    found = completions.trained_advantages(samples, 4)
    assert found.tolist() == pytest.approx([-1.0, NAN, 0.75, NAN], nan_ok=True)


def test_clearing_more_advantages_than_logged_is_safe():
    log = {"advantages": deque([1.0, 2.0, 3.0], maxlen=2)}
    completions.without_advantages(log, 3)
    assert log["advantages"] == deque([np.nan, np.nan])


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([(2, None), (2, None)], []),
        ([(2, "red"), (2, None)], ["red", "red", None, None]),
        ([(2, None), (2, "red")], [None, None, "red", "red"]),
        ([(4, "red"), (2, None)], ["red", "red", None, None]),
        ([(4, None), (2, "red")], [None, None, "red", "red"]),
    ],
)
def test_images_align_with_their_prompts_in_the_table(batches, expected):
    log = {"prompt": deque(maxlen=4), "images": deque(maxlen=4)}
    for count, shown in batches:
        log["prompt"].extend(["why?"] * count)
        completions.with_pictures(log, [shown] * count)
    assert list(log["images"]) == expected
