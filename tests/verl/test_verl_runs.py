"""Tests with real veRL on real Ray that runs train exactly on their plans."""

from __future__ import annotations

from pathlib import Path

import by_hand
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from vantage.errors import EngineError
from vantage.methods.recipe import parse_recipe
from vantage.record import Record
from vantage.record.replay import replay
from vantage.training.planning import make_plan
from vantage.training.verl.asking import session_of
from vantage.training.verl.resuming import whole_checkpoint

HERE = Path(__file__).parent
NAMES = ("prompt_M", "rollout_M", "advantage_M", "pair_M", "padding_M", "weight_M")
TWO = {"variants__prompts": 2, "variants__rewrites": "other"}
ROLLOUT = "verl__actor_rollout_ref__rollout"
CORRECTION = "verl__algorithm__rollout_correction"
# A sampler whose log-probs differ from the trainer's, within the limit for bfloat16.
APART = {f"{ROLLOUT}__engine_kwargs__+hf__apart": 0.12, f"{ROLLOUT}__dtype": "bfloat16"}
BY_TOKEN = {f"{CORRECTION}__rollout_is": "token"}
BY_SEQUENCE = {
    f"{CORRECTION}__rollout_is": "sequence",
    f"{CORRECTION}__rollout_rs": "token_k1",
    f"{CORRECTION}__rollout_rs_threshold": "0.9_1.1",
}
KL = {"verl__actor_rollout_ref__actor__use_kl_loss": True}


def same_plan(one, other) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in NAMES)


def check_updates(run, settings, steps: int, **options) -> None:
    """Check that plans equal those of the recipe, and weights those of updates computed by hand."""
    trainer = by_hand.Trainer(settings.model.path, updates=2, **options)
    recipe = parse_recipe(settings.recipe)
    for step in range(1, steps + 1):
        batch = run.batch(step)
        done = (step - 1) / steps
        expected = make_plan(recipe, batch["generated"], 0, step - 1, done)
        assert same_plan(batch["samples"], expected.samples)
        before = run.weights(step - 1)
        trainer.train(batch)
        after = run.weights(step)
        moved = max(float((after[name] - before[name]).abs().max()) for name in after)
        assert moved > 1e-4
        assert trainer.differences(after) < 1e-5


def trained_only_under_other_prompts(batch) -> set[int]:
    """Rollouts that the plan does not train under the prompt that generated them."""
    samples = batch["samples"]
    own_M = samples.prompt_M == batch["generated"].prompt_N[samples.rollout_M]
    real_M = ~samples.padding_M
    return set(samples.rollout_M[real_M & ~own_M]) - set(samples.rollout_M[real_M & own_M])


@pytest.mark.parametrize(
    ("kind", "recipe", "options"),
    [
        pytest.param("text", "grpo", {}, marks=pytest.mark.slow),
        pytest.param(
            "text",
            {"name": "shuffle-r1", "shape": "softmax"},
            {f"{CORRECTION}__bypass_mode": True},
            marks=pytest.mark.slow,
        ),
        ("text", "share-grpo", {**TWO, **KL, **APART, **BY_SEQUENCE}),
        ("vision", "share-shuffle", TWO),
    ],
)
def test_updates_equal_those_computed_by_hand(kind, recipe, options, settings, train):
    config = settings(kind, recipe=recipe, run__save_every=10, **options)
    run = train(config)
    parsed = parse_recipe(recipe)
    loss = parsed.loss
    expected = {"kl": 0.001} if KL.items() <= options.items() else {}
    if BY_SEQUENCE.items() <= options.items():
        # veRL's bounds are for the sampler's probability divided by the trainer's.
        expected |= {"correction": by_hand.by_sequence, "accepted": (1 / 1.1, 1 / 0.9)}
    expected |= {"clip": (loss.clip_low, loss.clip_high), "dual_clip": loss.dual_clip}
    check_updates(run, config, 2, **expected)
    assert not any(run.remaining().values())
    for metrics in run.metrics():
        assert metrics["plan/rollouts"] == 16 * config.variants.prompts
        assert 0 <= metrics["plan/silent_rollouts"] <= 1
        assert metrics["questions/asked"] == 4
        assert metrics["actor/grad_norm"] > 0
        assert metrics["plan/useful_rollouts_per_second"] > 0
        if APART.items() <= options.items():
            assert (
                0.03 < metrics["sampler/difference"] < 0.12 < metrics["sampler/largest_ratio"] - 1
            )
        else:
            assert metrics["sampler/difference"] < 1e-5
            assert metrics["sampler/largest_ratio"] < 1.001
    if parsed.shares:
        batch = run.batch(1)
        own_M = batch["generated"].prompt_N[batch["samples"].rollout_M]
        shared = (batch["samples"].prompt_M != own_M).any()
        assert shared == (config.variants.prompts == 2)


def test_a_frozen_vision_tower_does_not_change(settings, train):
    run = train(settings("vision", model__freeze_vision_tower=True, run__save_every=10))
    before, after = run.weights(0), run.weights(2)
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    tower = {name for name in before if "visual" in name}
    assert tower
    assert tower == same


def test_two_workers_give_the_same_result_as_one(settings, train):
    runs = []
    for workers in (1, 2):
        options = {**TWO, **APART, **BY_TOKEN}
        config = settings("text", workers=workers, recipe="share-shuffle", **options)
        runs.append((config, train(config)))
    (config, one), (_, two) = runs
    check_updates(one, config, 2, clip=(0.2, 0.3), dual_clip=3.0, correction=by_hand.by_token)
    assert trained_only_under_other_prompts(one.batch(1))
    for step in (1, 2):
        assert same_plan(one.batch(step)["samples"], two.batch(step)["samples"])
        weights = two.weights(step)
        for name, value in one.weights(step).items():
            assert torch.allclose(value, weights[name], rtol=0, atol=1e-5), name


def test_failed_rollouts_give_smaller_groups_and_silent_questions_are_replaced(settings, train):
    rewards = {f"{HERE / 'tiny.py'}:sometimes": 1.0}
    config = settings("text", recipe={"name": "dapo-filter", "refills": 1}, rewards=rewards)
    run = train(config)
    check_updates(run, config, 2, clip=(0.2, 0.28))
    sizes = np.unique(run.batch(1)["generated"].question_N, return_counts=True)[1]
    assert 1 < len(sizes) <= 4 and sizes.min() < 4
    assert max(metrics["questions/asked"] for metrics in run.metrics()) > 4
    assert not any(run.remaining().values())


def test_a_sampler_with_old_weights_ends_the_run(settings, train):
    config = settings("text", **{f"{ROLLOUT}__engine_kwargs__+hf__stale": True})
    with pytest.raises(EngineError) as caught:
        train(config)
    message = str(caught.value)
    for words in ("log-probs of sampler and trainer", "below 0.001", "'qwen2'", "verl 0.9.1"):
        assert words in message
    assert f"torch {torch.__version__}" in message and "rollout.name: sglang" in message


def test_forwards_in_bfloat16_change_the_weights_that_have_a_gradient(settings, train):
    actor = "verl__actor_rollout_ref__actor"
    config = settings(
        "text",
        model__dtype="bfloat16",
        optimizer__learning_rate=1e-6,
        batch__updates=1,
        run__batches=1,
        run__save_every=10,
        **{f"{actor}__optim__override_optimizer_config__eps": 1e-8},
    )
    run = train(config)
    before, after = run.weights(0), run.weights(1)
    trainer = by_hand.Trainer(config.model.path, updates=1)
    trainer.train(run.batch(1))
    has_gradient = {name: p.grad != 0 for name, p in trainer.model.named_parameters()}
    moved = sum(int((after[n] != before[n])[has].sum()) for n, has in has_gradient.items())
    total = sum(int(has.sum()) for has in has_gradient.values())
    assert total > 10_000 and moved > 0.99 * total, (moved, total)
    assert max(float((after[n] - before[n]).abs().max()) for n in has_gradient) < 2e-6
    # With forwards in float32, the sampler would agree to 1e-6.
    assert run.metrics()[0]["sampler/difference"] > 1e-4


@pytest.mark.slow
def test_bfloat16_weights_are_trained_with_compensated_sums(settings, train):
    options = {
        "model__dtype": "auto",
        "optimizer__weights": "bfloat16",
        "optimizer__learning_rate": 1e-6,
        # Removes the eps that `settings` sets for AdamW in float32.
        "verl__actor_rollout_ref__actor__optim": {},
    }
    run = train(settings(**options))
    assert compensated(run.folder / "global_step_2") > 0.99
    train(settings(**options, run__batches=3, run__save_every=1), resume=True)
    assert compensated(run.folder / "global_step_3") > 0.99


def compensated(checkpoint: Path) -> float:
    """Share of the weights with a gradient whose rounding error is stored."""
    saved = checkpoint / "actor" / "optim_world_size_1_rank_0.pt"
    stored = total = 0
    for state in torch.load(saved, weights_only=False)["state"].values():
        assert state["kahan_comp"].dtype == torch.bfloat16
        has_gradient = state["exp_avg_sq"] > 0
        stored += ((state["kahan_comp"] != 0) & has_gradient).sum().item()
        total += has_gradient.sum().item()
    assert total > 10_000
    return stored / total


def test_a_reward_that_always_fails_ends_the_run_and_the_error_names_the_logs(settings, train):
    config = settings("text", rewards={f"{HERE / 'tiny.py'}:broken": 1.0})
    words = "rollout batch 0 has no rollouts: .* see the logs of veRL's agent and reward workers"
    with pytest.raises(EngineError, match=words):
        train(config)


def test_a_run_without_rewards_ends_with_a_checkpoint(settings, train):
    nothing = {f"{HERE / 'tiny.py'}:nothing": 0.9, f"{HERE / 'tiny.py'}:length": 0.1}
    more = {"run__batches": 4, "run__save_every": 10, "run__max_silent_batches": 2}
    config = settings("text", rewards=nothing, **more)
    words = "in 2 rollout batches in a row: of the 16 rollouts of batch 1 none has a reward"
    with pytest.raises(EngineError, match=words):
        train(config)
    last = whole_checkpoint(Path(config.run.output))
    assert last.name == "global_step_1"
    saved = torch.load(last / "data.pt", weights_only=False)
    assert saved["silent"] == 1
    session = session_of(config, AutoTokenizer.from_pretrained(config.model.path), None)
    session.load_state_dict(saved)
    assert session.silence.count == 1


def test_a_run_is_validated_and_recorded(settings, train, tiny):
    config = settings(
        "vision",
        recipe={"name": "share-shuffle", "shape": "softmax"},
        rewards={f"{HERE / 'tiny.py'}:length": 0.5},
        data__validation=str(tiny / "vision.parquet"),
        data__validation_split="train",
        run__validate_every=1,
        validation={"rollouts": 2, "temperature": 0.5, "before_training": True},
        **TWO,
    )
    run = train(config)
    record = Record(run.folder)
    assert record.about.engine == "verl"
    assert record.steps == [0, 1]
    assert [record.done(step) for step in record.steps] == [0.0, 0.5]
    assert replay(record, parse_recipe(config.recipe)).same_B.all()
    rollouts = record.table("rollouts")
    assert rollouts.num_rows == 2 * 32
    assert all(text for text in rollouts["response"].to_pylist())
    assert not np.isnan(rollouts["log_prob"].to_numpy()).all()
    held_out = record.validations().to_pylist()
    assert [row["batch"] for row in held_out if row["metric"] == "reward"] == [0, 1, 2]
    parts = [row["value"] for row in held_out if row["metric"] == "rewards/length/mean"]
    totals = [row["value"] for row in held_out if row["metric"] == "reward"]
    assert np.allclose(np.array(parts) * 0.5, totals) and max(totals) > 0
    logged = [metrics["val-core/validation/reward/mean@2"] for metrics in run.metrics()]
    assert totals[-2:] == logged[-2:]
