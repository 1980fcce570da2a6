"""A run without a gradient warns, ends with a checkpoint, and does so again when resumed."""

import logging

import numpy as np
import pytest
from training_cases import mixed_rows, trainer

from vantage.errors import EngineError
from vantage.methods import recipe
from vantage.training.checkpoints import last_complete
from vantage.training.planning import Outcomes, make_plan
from vantage.training.stopping import Silence, StoppedError, told, trains
from vantage.training.trl import VantageTrainer

NAN = float("nan")


def plan(rewards, questions=2, name="grpo", **options):
    reward_N = np.array(rewards, dtype=float)
    question_N = np.repeat(np.arange(questions), len(reward_N) // questions)
    outcomes = Outcomes(question_N, question_N, reward_N, reward_N[:, None])
    return make_plan(recipe(name, **options), outcomes, seed=0, number=0)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([0, 0, 0, 0, 1, 1, 1, 1], False),
        ([0, 1, 0, 0, 1, 1, 1, 1], True),
        ([NAN] * 8, False),
        ([NAN, NAN, NAN, 1, 0, 0, NAN, 0], False),
        ([NAN, NAN, 0, 1, NAN, NAN, NAN, NAN], True),
    ],
)
@pytest.mark.parametrize("name", ["grpo", "shuffle-r1", "dapo-filter", "rloo", "pods"])
def test_batch_trains_if_an_advantage_is_nonzero(rewards, expected, name):
    assert trains(plan(rewards, name=name)) == expected


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([NAN] * 8, ["of the 8 rollouts of batch 3 none has a reward", "judge"]),
        ([0.0] * 8, ["batch 3", "2 of 2 questions", "0 questions all right, 2 all wrong", "check"]),
        ([1.0] * 8, ["2 questions all right, 0 all wrong", "too easy"]),
        ([0.1] * 7 + [NAN], ["0 questions all right, 2 all wrong", "1 rollouts without a reward"]),
    ],
)
def test_silence_message_names_batch_counts_and_causes(rewards, words):
    message = told(3, plan(rewards))
    assert [word for word in words if word not in message] == []


def test_first_silent_batch_warns_and_the_last_ends_the_run(caplog):
    silent, live = plan([0.0] * 8), plan([0.0, 1.0] * 4)
    silence = Silence(3)
    with caplog.at_level(logging.WARNING):
        for number, made in enumerate([live, silent, silent, live, silent, silent]):
            silence.take(number, made)
    assert [line.getMessage()[:33] for line in caplog.records] == [
        "no gradient: in batch 1 the rollo",
        "no gradient: in batch 4 the rollo",
    ]
    assert silence.count == 2
    with pytest.raises(StoppedError, match=r"in 3 rollout batches in a row.*batch 6.*null"):
        silence.take(6, silent)
    assert silence.count == 2  # what is not trained is not counted
    endless = Silence(None)
    for number in range(100):
        endless.take(number, silent, says=False)
    assert endless.count == 100


# ---- on TRL --------------------------------------------------------------------------------


class Gone:
    """A reward that is constant from batch `since` on."""

    def __init__(self, since: int, value: float | None):
        self.since, self.value, self.calls = since, value, 0
        self.__name__ = "gone"

    def __call__(self, completion_ids, **columns):
        number, self.calls = self.calls, self.calls + 1
        if number >= self.since:
            return [self.value] * len(completion_ids)
        return [float(n % 2) for n in range(len(completion_ids))]


def run(model, tmp_path, reward, batches=6, **options) -> VantageTrainer:
    options = {"save_strategy": "steps", "save_steps": 100, "max_silent_batches": 3} | options
    return trainer(model, mixed_rows(6), tmp_path, reward=reward, max_steps=2 * batches, **options)


@pytest.mark.parametrize("value", [None, NAN, 0.5])
def test_silent_run_ends_with_a_checkpoint_also_when_resumed(value, tiny_model, tmp_path, caplog):
    made = run(tiny_model, tmp_path, Gone(2, value))
    with pytest.raises(EngineError, match=r"3 rollout batches in a row: .*batch 4"):
        made.train()
    assert caplog.text.count("no gradient: ") == 1
    last = last_complete(tmp_path)
    assert last.name == "checkpoint-8"  # of 4 batches with 2 updates
    again = run(tiny_model, tmp_path, Gone(0, value))
    with pytest.raises(EngineError, match=r"3 rollout batches in a row: .*batch 4"):
        again.train(resume_from_checkpoint=True)
    assert again.session.silence.count == 2
    mended = run(tiny_model, tmp_path, Gone(9, value))
    mended.train(resume_from_checkpoint=True)
    assert (mended.state.global_step, mended.session.silence.count) == (12, 0)


def test_without_silent_batches_limit_the_run_continues(tiny_model, tmp_path):
    made = run(tiny_model, tmp_path, Gone(0, 1.0), batches=4, max_silent_batches=None)
    made.train()
    assert (made.session.silence.count, made.state.global_step) == (4, 8)
