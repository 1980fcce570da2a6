"""The record of a run on TRL matches what it trained."""

import dataclasses
import time

import numpy as np
import pytest
from transformers import TrainerCallback

from vantage.errors import ConfigError
from vantage.methods import diagnose
from vantage.record import About, Record, Recorder
from vantage.training import checkpoints
from vantage.training.trl import VantageConfig, VantageTrainer
from vantage.training.trl.recording import TrlRecording

OPTIONS = {
    "max_steps": 6,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "generation_batch_size": 32,
    "num_generations": 4,
    "max_completion_length": 6,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "seed": 5,
}
TURNS = {"prompts": 2, "transforms": {"names": ["noise-25", "clockwise"], "probability": 0.7}}
RECIPES = {
    "grpo": {"recipe": "grpo"},
    "shuffle-r1": {"recipe": {"name": "shuffle-r1", "rounds": 4, "shape": "softmax"}},
    "share-shuffle": {"recipe": {"name": "share-shuffle", "rounds": 4}, "variants": TURNS},
    "dapo-filter": {"recipe": "dapo-filter"},
}


class Watch(TrainerCallback):
    """Keeps the record of each rollout batch."""

    def __init__(self):
        self.plans, self.batches = [], []

    def on_step_end(self, args, state, control, **rest):
        if state.global_step % args.updates_per_rollout_batch == 0:
            self.plans.append(
                (self.trainer.batch.plan.rollouts, self.trainer.batch.plan.of_rollouts)
            )
            self.batches.append(self.trainer.batch)


def score(completion_ids, **_):
    return [None if ids[0] % 7 == 0 else float(ids[0] % 3) for ids in completion_ids]


def brevity(completion_ids, **_):
    return [1 / len(ids) for ids in completion_ids]


def trained(run, tiny_model, rows, **options):
    watch = Watch()
    trainer = VantageTrainer(
        tiny_model,
        [score, brevity],
        VantageConfig(str(run), **OPTIONS | {"reward_weights": [0.9, 0.1]} | options),
        rows.select(range(20)),
        rows.select(range(36, 40)),
        callbacks=[watch],
    )
    watch.trainer = trainer
    trainer.train()
    return trainer, watch


@pytest.fixture(scope="module", params=RECIPES)
def run(request, tmp_path_factory, tiny_model, digit_rows):
    place = tmp_path_factory.mktemp("run")
    trainer, watch = trained(place, tiny_model, digit_rows, **RECIPES[request.param])
    return trainer, watch, Record(place)


def test_recorded_plan_is_the_trained_plan(run):
    trainer, watch, record = run
    assert record.steps == [0, 1, 2] and len(watch.plans) == 3
    for step, (rollouts, samples) in enumerate(watch.plans):
        recorded, plan, _ = record.planned(step)
        for table, other in ((rollouts, recorded), (samples, plan)):
            for field in dataclasses.fields(table):
                np.testing.assert_array_equal(
                    getattr(table, field.name), getattr(other, field.name)
                )
        assert record.done(step) == step / 3
        rng = np.random.default_rng([record.about.seed, step])
        again = trainer.session.recipe.plan(recorded, rng, step / 3)
        np.testing.assert_array_equal(again.rollout_M, plan.rollout_M)


def test_record_matches_the_trainer(run):
    trainer, watch, record = run
    rollouts = record.table("rollouts")
    for number, batch in enumerate(watch.batches):
        mine = rollouts.filter(np.array(rollouts["batch"]) == number)
        texts = trainer.processing_class.batch_decode(
            batch.responses.tokens_NT, skip_special_tokens=True
        )
        assert mine["response"].to_pylist() == texts
        assert mine["tokens"].to_pylist() == batch.length_N.tolist()
        np.testing.assert_array_equal(mine["reward"].to_numpy(), batch.scored.reward_N)
        parts = np.array([[row["score"], row["brevity"]] for row in mine["parts"].to_pylist()])
        np.testing.assert_array_equal(parts.astype(float), batch.scored.part_NF)
        diagnosis = diagnose(*watch.plans[number])
        assert record.numbers("metrics")["silent_rollouts"][number] == diagnosis["silent_rollouts"]
    assert set(record.numbers("seconds")) >= {"generate", "reward", "plan", "update"}


def test_record_has_the_asked_prompts_and_questions(run, digit_rows):
    _, _, record = run
    for prompt in record.table("prompts").to_pylist():
        words = digit_rows[prompt["row"]]["question"].replace("<image>", "")
        shown = [change for one in prompt["pictures"] for change in one["changes"]]
        assert bool(shown) == (not prompt["text"].endswith(f"<image>{words}"))
        assert prompt["variant"] or not shown
        assert record.picture(prompt["pictures"][0]["picture"])


def test_record_has_log_probs_of_trained_rollouts(run):
    trainer, _, record = run
    rollouts = record.table("rollouts")
    log_prob_N, trained_N = (rollouts[name].to_numpy() for name in ("log_prob", "trained"))
    assert trainer.args.updates > 1 and (log_prob_N[~np.isnan(log_prob_N)] < 0).all()
    known_N = ~np.isnan(log_prob_N)
    assert known_N.any() and not known_N[trained_N == 0].any()


def test_validations_are_recorded_with_their_duration(run):
    _, _, record = run
    rows = record.validations().to_pylist()
    found = {row["batch"]: row for row in rows if row["metric"] == "rewards/brevity/mean"}
    assert sorted(found) == [1, 2, 3] and all(row["seconds"] > 0 for row in found.values())


def test_generated_tokens_include_replaced_questions(run):
    trainer, watch, record = run
    tokens = record.table("batch")["generated_tokens"].to_pylist()
    for generated, batch in zip(tokens, watch.batches, strict=True):
        kept = int(batch.length_N.sum())
        assert generated >= kept if trainer.session.recipe.refills else generated == kept


def test_unwritable_record_does_not_end_the_run(tmp_path, tiny_model, digit_rows, caplog):
    class Spoil(TrainerCallback):
        def on_step_begin(self, args, state, control, **rest):
            if state.global_step == 2:
                (tmp_path / "record" / "steps").rename(tmp_path / "gone")

    trainer = VantageTrainer(
        tiny_model,
        [score, brevity],
        VantageConfig(str(tmp_path), **OPTIONS | {"eval_strategy": "no", "max_steps": 4}),
        digit_rows.select(range(20)),
        callbacks=[Spoil()],
    )
    trainer.train()
    assert trainer.state.global_step == 4
    assert "rollout batch 1 is not in the record" in caplog.text


def test_checkpoint_is_complete_once_its_batches_are_recorded(
    tmp_path, tiny_model, digit_rows, monkeypatch
):
    """With a slow disk, pending writes are waited for."""
    there = []
    write, mark = Recorder.append, checkpoints.mark_complete

    def slowly(recorder, step):
        time.sleep(0.5)
        write(recorder, step)

    def marked(checkpoint):
        there.append(Record(tmp_path).steps)
        mark(checkpoint)

    monkeypatch.setattr(Recorder, "append", slowly)
    monkeypatch.setattr(checkpoints, "mark_complete", marked)
    options = {"eval_strategy": "no", "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trained(tmp_path, tiny_model, digit_rows, **options)
    assert there == [[0], [0, 1]] and Record(tmp_path).steps == [0, 1]


def test_record_errors_propagate(tmp_path, tiny_model, digit_rows, monkeypatch):
    def broken(recorder, step):
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(Recorder, "append", broken)
    with pytest.raises(ValueError, match="a mistake of ours"):
        trained(tmp_path, tiny_model, digit_rows, eval_strategy="no")


def test_second_run_in_the_same_directory_raises(tmp_path, tiny_model, digit_rows):
    with (
        Recorder(tmp_path, About("trl", "grpo", 0, 1)),
        pytest.raises(ConfigError, match="is being written by another process"),
    ):
        trained(tmp_path, tiny_model, digit_rows)
    trained(tmp_path, tiny_model, digit_rows, max_steps=2)  # the first has let go
    trained(tmp_path, tiny_model, digit_rows, max_steps=2)


def test_each_rollout_batch_is_recorded_once(tmp_path, tiny_model, digit_rows, monkeypatch):
    """At the end of an epoch too, where transformers evaluates and saves a second time."""
    recorded, append = [], TrlRecording.append

    def noting(self, step):
        recorded.append(step.number)
        append(self, step)

    monkeypatch.setattr(TrlRecording, "append", noting)
    options = {"max_steps": -1, "num_train_epochs": 2}
    trainer, _ = trained(tmp_path / "run", tiny_model, digit_rows, **options)
    batches = trainer.session.batches_per_epoch
    assert recorded == list(range(2 * batches))


def test_the_newest_checkpoint_stays_beside_the_best(tmp_path, tiny_model, digit_rows):
    def falling(completion_ids, trainer_state, **_):
        return [-float(trainer_state.global_step) - ids[0] % 2 for ids in completion_ids]

    args = VantageConfig(
        str(tmp_path / "run"),
        **OPTIONS
        | {
            "save_total_limit": 1,
            "save_strategy": "steps",
            "save_steps": 2,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "metric_for_best_model": "eval_reward",
            "max_steps": 6,
        },
    )
    rows = digit_rows.select(range(20))
    VantageTrainer(tiny_model, falling, args, rows, digit_rows.select(range(36, 40))).train()
    left = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert left == ["checkpoint-2", "checkpoint-6"]
