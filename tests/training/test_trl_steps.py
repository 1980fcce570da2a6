"""Steps that are not whole rollout batches; data sets changed after construction."""

from collections import Counter

import pytest
from training_cases import Reward, config, difference, mixed_rows, trained, trainer
from transformers import TrainerCallback

from vantage.errors import ConfigError, InputError
from vantage.record import Record
from vantage.training import checkpoints

SAVING = {"save_strategy": "steps", "optim": "adamw_torch"}


class Listening(Reward):
    """A reward that records the questions it scores."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __call__(self, answer, **columns):
        self.asked.append(sorted({int(number) for number in answer}))
        return super().__call__(**columns)


def weights(made) -> dict:
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def saved(run) -> list[int]:
    return sorted(int(path.name[11:]) for path in run.glob("checkpoint-*"))


# ---- how long ------------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [1, 3, 4])
def test_run_makes_exactly_the_configured_updates(updates, tiny_model, tmp_path):
    made, steps = trained(tiny_model, mixed_rows(4), tmp_path, max_steps=updates)
    assert (made.state.global_step, len(steps)) == (updates, updates)
    assert difference(steps[-1].gradients, {}) > 0
    record = Record(tmp_path)
    assert record.table("rollouts").num_rows == 16 * -(-updates // 2)
    assert record.about.batches == -(-updates // 2)


@pytest.mark.parametrize(("epochs", "updates"), [(1, 4), (2, 8), (0.6, 3), (1.5, 6)])
def test_epochs_have_the_same_number_of_updates_as_in_trl(epochs, updates, tiny_model, tmp_path):
    """9 questions, 4 per batch of 2 updates: 2 batches per epoch."""
    made = trainer(tiny_model, mixed_rows(9), tmp_path, num_train_epochs=epochs)
    made.train()
    assert (made.state.global_step, made.state.max_steps) == (updates, updates)


# ---- when it is saved ----------------------------------------------------------------------


class SavingAt(TrainerCallback):
    """A callback of the user that requests a checkpoint."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **rest):
        control.should_save |= state.global_step == self.step


@pytest.mark.parametrize(
    ("save_steps", "expected", "waits"),
    [
        (2, [2, 4, 6, 7], False),
        (3, [4, 6, 7], True),
        (5, [6, 7], True),
        (0.4, [4, 6, 7], True),
        (0.5, [4, 7], False),
    ],
)
def test_a_checkpoint_waits_for_the_end_of_its_rollout_batch(
    save_steps, expected, waits, tiny_model, tmp_path, caplog
):
    made, _ = trained(
        tiny_model, mixed_rows(4), tmp_path, save_steps=save_steps, max_steps=7, **SAVING
    )
    assert saved(tmp_path) == expected
    assert caplog.text.count("a checkpoint waits for the end of its rollout batch of 2") == waits
    assert [c for c in expected if checkpoints.stops_inside(tmp_path / f"checkpoint-{c}")] == [7]
    assert made.state.global_step == 7


def test_requested_checkpoint_waits_for_the_end_of_the_batch(tiny_model, tmp_path):
    rest = {"callbacks": [SavingAt(1)]}
    made = trainer(tiny_model, mixed_rows(4), tmp_path, rest=rest, max_steps=4, **SAVING)
    made.train()
    assert saved(tmp_path) == [2, 4]


class StoppingAt(TrainerCallback):
    """Stops after an evaluation, like early stopping."""

    def on_evaluate(self, args, state, control, **rest):
        control.should_training_stop = True


def test_run_stopped_inside_a_batch_saves_the_due_checkpoint(tiny_model, tmp_path):
    rest = {"callbacks": [SavingAt(3), StoppingAt()], "eval_dataset": mixed_rows(1)}
    options = {"eval_strategy": "steps", "eval_steps": 3, "per_device_eval_batch_size": 4}
    made = trainer(tiny_model, mixed_rows(4), tmp_path, rest=rest, max_steps=8, **SAVING, **options)
    made.train()
    assert made.state.global_step == 3
    assert saved(tmp_path) == [3]


class Peaking(Reward):
    """Evaluations are best after some update."""

    def __init__(self, best: int):
        super().__init__()
        self.best = best

    def __call__(self, prompts, completion_ids, trainer_state, **columns):
        if len(completion_ids) == 16:
            return super().__call__(prompts, completion_ids, **columns)
        return [-abs(trainer_state.global_step - self.best)] * len(completion_ids)


@pytest.mark.parametrize("best", [2, 3])
@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_best_checkpoint_has_the_evaluated_weights(strategy, best, tiny_model, tmp_path):
    """The last evaluation is inside a rollout batch, where the run ends and is saved."""
    made, steps = trained(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        rest={"eval_dataset": mixed_rows(1)},
        reward=Peaking(best),
        load_best_model_at_end=True,
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=4,
        save_strategy=strategy,
        save_steps=2,
        max_steps=3,
    )
    validated = [line["step"] for line in made.state.log_history if "eval_reward" in line]
    assert validated == [2, 3]
    assert made.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    before_last = difference(weights(made), steps[2].weights)
    assert before_last < 1e-6 if best == 2 else before_last > 1e-4


def test_fractional_eval_steps_align_with_checkpoints(tiny_model, tmp_path):
    options = {
        "load_best_model_at_end": True,
        "eval_strategy": "steps",
        "per_device_eval_batch_size": 4,
        "eval_steps": 0.5,
        "save_strategy": "steps",
        "save_steps": 0.5,
    }
    rows, rest = mixed_rows(4), {"eval_dataset": mixed_rows(1)}
    made, _ = trained(tiny_model, rows, tmp_path, rest=rest, max_steps=4, **options)
    assert [line["step"] for line in made.state.log_history if "eval_reward" in line] == [2, 4]
    assert saved(tmp_path) == [2, 4]
    with pytest.raises(ConfigError, match=r"eval_steps=3 .* 2 or 4 would do"):
        trained(tiny_model, rows, tmp_path / "other", rest=rest, max_steps=6, **options)


# ---- going on ------------------------------------------------------------------------------


def test_run_stopped_inside_a_batch_resumes_from_the_last_whole_batch(tiny_model, tmp_path, caplog):
    options = {"save_steps": 2, **SAVING}
    short = trainer(tiny_model, mixed_rows(4), tmp_path / "short", max_steps=3, **options)
    short.train()
    ended = weights(short)

    again = trainer(tiny_model, mixed_rows(4), tmp_path / "short", max_steps=3, **options)
    again.train(resume_from_checkpoint=True)
    assert (again.state.global_step, again._step) == (3, 0)
    assert difference(weights(again), ended) == 0

    longer = trainer(tiny_model, mixed_rows(4), tmp_path / "short", max_steps=4, **options)
    longer.train(resume_from_checkpoint=True)
    assert "checkpoint-3 stopped inside a rollout batch: resuming from" in caplog.text
    whole = trainer(tiny_model, mixed_rows(4), tmp_path / "whole", max_steps=4, **options)
    whole.train()
    assert difference(weights(longer), weights(whole)) == 0
    tables = [Record(tmp_path / name).table("rollouts").to_pylist() for name in ("short", "whole")]
    assert [row["reward"] for row in tables[0]] == [row["reward"] for row in tables[1]]


def test_checkpoint_inside_a_batch_cannot_resume_a_longer_run(tiny_model, tmp_path):
    trained(tiny_model, mixed_rows(4), tmp_path, max_steps=3, save_steps=2, **SAVING)
    longer = trainer(tiny_model, mixed_rows(4), tmp_path, max_steps=6, save_steps=2, **SAVING)
    with pytest.raises(InputError, match=r"inside a rollout batch.*to 6 updates: resume from .*-2"):
        longer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


def test_resuming_without_a_finished_batch_raises(tiny_model, tmp_path):
    trained(tiny_model, mixed_rows(4), tmp_path, max_steps=3, **SAVING)
    assert saved(tmp_path) == [3]
    longer = trainer(tiny_model, mixed_rows(4), tmp_path, max_steps=6, **SAVING)
    with pytest.raises(InputError, match=r"inside a rollout batch.*start a new run"):
        longer.train(resume_from_checkpoint=True)


# ---- data set after the start --------------------------------------------------------------


def test_data_set_can_change_after_construction(tiny_model, tmp_path):
    reward = Listening()
    made = trainer(tiny_model, mixed_rows(4), tmp_path, reward=reward, max_steps=4)
    made.train_dataset = mixed_rows(12).select(range(4, 12))
    made.train()
    assert reward.asked == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert made.num_examples(None) == 8


def test_invalid_data_set_after_construction_raises(tiny_model, tmp_path):
    made = trainer(tiny_model, mixed_rows(4), tmp_path, reward=Listening())
    made.train_dataset = mixed_rows(4).remove_columns("answer").rename_column("silent", "other")
    made.reward_funcs = [lambda completions, answer, **columns: [0.0] * len(answer)]
    with pytest.raises(InputError, match="train_dataset has no column 'answer'"):
        made.train()


def test_evaluation_data_and_rewards_can_change_after_construction(tiny_model, tmp_path):
    made = trainer(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        rest={"eval_dataset": mixed_rows(1)},
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=4,
    )
    reward = Listening()
    made.reward_funcs, made.reward_weights[0] = [reward], 0.5
    made.eval_dataset = mixed_rows(6).select([5])
    made.train()
    assert reward.asked == [[0, 1, 2, 3], [5]]
    found = Counter(made.batch.plan.rollouts.reward_N.tolist())
    assert set(found) <= {0.0, 0.5, 1.0, 1.5} and len(found) > 1


def test_default_sizes_are_those_of_trl(tiny_model, tmp_path):
    args = config(tmp_path, steps_per_generation=None, gradient_accumulation_steps=2)
    assert (args.updates, args.generation_batch_size, args.max_steps) == (1, 16, 1)
