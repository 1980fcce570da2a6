"""Rows without an advantage go through no forward, and change nothing."""

import pytest
import torch
from test_trainer import SHARE
from training_cases import Reward, difference, mixed_rows, trained
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.training.trl.rollout_batches import RolloutBatches

WAYS = {
    "means over tokens": {},
    "means over rows": {"loss_type": "grpo"},
    "a constant length": {"loss_type": "dr_grpo"},
    "tokens of a forward": {"loss_type": "bnpo"},
    "row by row": {"packing": "off"},
    "one row a forward": {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "steps_per_generation": 16,
    },
    "shared rows": SHARE,
    "sequences": {"importance_sampling_level": "sequence"},
    "twice through a batch": {"num_iterations": 2},
}


@pytest.fixture
def forwarded(monkeypatch):
    """Rows of every forward with gradients."""
    from vantage.training.trl.policy import Policy

    original, seen = Policy.forward, []

    def counted(self, model, tokens_RT, *args, **kwargs):
        seen.append((torch.is_grad_enabled(), len(tokens_RT)))
        return original(self, model, tokens_RT, *args, **kwargs)

    monkeypatch.setattr(Policy, "forward", counted)
    return seen


def run(tiny_model, tmp_path, **options):
    rows = mixed_rows(4, live=(0, 2))  # the other two questions are silent
    return trained(tiny_model, rows, tmp_path, reward=Reward(), **options)


def without_skipping(monkeypatch):
    monkeypatch.setattr(RolloutBatches, "_skips_silent", False)


@pytest.mark.parametrize("name", WAYS)
def test_updates_are_the_same_without_the_silent_rows(
    name, tiny_model, tmp_path, monkeypatch, forwarded
):
    made, mine = run(tiny_model, tmp_path, **WAYS[name])
    fewer = sum(rows for grad, rows in forwarded if grad)
    scored = sum(rows for grad, rows in forwarded if not grad)
    forwarded.clear()
    without_skipping(monkeypatch)
    plain, every = run(tiny_model, tmp_path, **WAYS[name])
    assert fewer < sum(rows for grad, rows in forwarded if grad)
    assert scored < sum(rows for grad, rows in forwarded if not grad)
    assert made.batch.plan.diagnosis == plain.batch.plan.diagnosis
    for one, other in zip(mine, every, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5, abs=1e-7)
        assert difference(one.gradients, other.gradients) < 1e-6


def test_thirty_steps_in_double_precision_give_the_same_weights(tiny_model, tmp_path, monkeypatch):
    def weights(place):
        model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float64)
        rest = {"processing_class": AutoProcessor.from_pretrained(tiny_model)}
        options = {"max_steps": 30, "optim": "adamw_torch", "learning_rate": 1e-3, "rest": rest}
        made, steps = trained(model, mixed_rows(4, live=(0, 2)), place, **options)
        assert len(steps) == 30
        return dict(made.model.named_parameters())

    mine = weights(tmp_path / "fewer")
    without_skipping(monkeypatch)
    every = weights(tmp_path / "every")
    for name, expected in every.items():
        assert expected.dtype == torch.float64
        torch.testing.assert_close(mine[name], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"beta": 0.1}, {"beta": 0.1, "packing": "off"}])
def test_a_reference_keeps_the_silent_rows(options, tiny_model, tmp_path, monkeypatch, forwarded):
    run(tiny_model, tmp_path, **options)
    kept = list(forwarded)
    forwarded.clear()
    without_skipping(monkeypatch)
    run(tiny_model, tmp_path, **options)
    assert kept == forwarded


def test_a_batch_of_silent_rows_alone_changes_no_weights(tiny_model, tmp_path):
    made, steps = trained(
        tiny_model, mixed_rows(4, live=()), tmp_path, max_silent_batches=None, max_steps=2
    )
    assert all(not update.row_PR.max() >= 0 for update in made.batch.updates)
    for step in steps:
        assert all(not gradient.any() for gradient in step.gradients.values())
