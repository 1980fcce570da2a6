"""Which weights a step moves, computed by hand and with PyTorch's rounding."""

import numpy as np
import pytest
import torch

from vantage import config as configuration
from vantage.errors import ConfigError
from vantage.training.precision import (
    Precision,
    Steps,
    Weights,
    expected,
    judge,
    moved,
    precision_of,
    reach,
    steps_of,
)


@pytest.mark.parametrize(
    ("step", "dtype", "below"),
    [
        # log2(1e-6) = -19.93; half a spacing at 2^e is 2^(e - 8), 2^(e - 11), 2^(e - 24)
        (1e-6, "bfloat16", 2.0**-11),
        (1e-6, "float16", 2.0**-8),
        (1e-6, "float32", 2.0**5),
        (1e-5, "bfloat16", 2.0**-8),
        (1e-3, "bfloat16", 2.0**-1),
        # Half a spacing of weights in [1, 2) exactly, which goes to the even neighbour.
        (2.0**-8, "bfloat16", 1.0),
        (2.0**-7.9, "bfloat16", 2.0),
        # Below half of the smallest number there is, 2^-24.
        (2e-8, "float16", 0.0),
        (2e-8, "bfloat16", 2.0**-17),
    ],
)
def test_reach_of_a_step(step, dtype, below):
    assert reach(step, dtype) == below


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("step", [1e-6, 3e-5, 1e-3])
def test_step_moves_only_weights_within_reach(dtype, step):
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    weights = (torch.randn(100_000) * torch.logspace(-6, 1, 100_000)).to(kind)
    away = torch.where(weights < 0, -step, step).double()
    stepped = (weights.double() + away).to(kind)
    assert torch.equal(stepped != weights, weights.abs() < reach(step, dtype))


def test_share_of_typical_weights_that_a_step_moves():
    # 2^-11 is 0.0244 standard deviations of 0.02: 2 x 0.00974 of a normal distribution.
    adam = Steps("adamw", 1e-6, 1e-6)
    found = moved(expected("bfloat16", 0.02), adam)
    assert found.share == pytest.approx(0.0195, abs=0.001)
    assert (found.still, found.tensors) == (1, 2)  # norms are one
    assert moved(expected("float32", 0.02), adam) == (1.0, 0, 2)
    assert moved(expected("bfloat16", None), adam) == found


def weights(dtype: str, *magnitudes: float, size: int = 100) -> Weights:
    return Weights(dtype, size, np.array(magnitudes))


ADAM, HIGH = Steps("adamw", 1e-6, 1e-6), Steps("adamw", 1e-3, 1e-3)


@pytest.mark.parametrize(
    ("held", "steps", "error", "warning"),
    [
        (expected("bfloat16", 0.02), ADAM, "2.0% of the weights", None),
        (expected("float16", 0.02), ADAM, "kept in float16", None),
        (expected("float32", 0.02), ADAM, None, None),
        (expected("bfloat16", 0.02), HIGH, None, "moves nothing in 1 of 2 tensors"),
        ([weights("bfloat16", 0.01)], HIGH, None, None),
        ([weights("bfloat16", 1e-4, 0.1)], ADAM, "50.0% of the weights", None),
        ([weights("bfloat16", 0.1), weights("float32", 0.1)], ADAM, "kept in bfloat16:", None),
        ([weights("bfloat16", 0.1)], Steps("kahan", 1e-6, 1e-6, kept=True), None, None),
        ([weights("float16", 0.1)], Steps("kahan", 1e-6, 1e-6, kept=True), "float16", None),
        ([weights("bfloat16", 0.1)], Steps("muon", 1e-6, None), None, "cannot determine whether"),
        ([weights("float8_e4m3fn", 0.1)], ADAM, None, "cannot determine whether"),
        ([weights("float32", 0.1)], Steps("muon", 1e-6, None), None, None),
        ([weights("bfloat16", 0.1)], Steps("adamw", 0.0, 0.0), None, None),
        ([], ADAM, None, None),
    ],
)
def test_verdicts_on_optimizer_steps(held, steps, error, warning):
    found = judge(held, steps)
    for words, wanted in ((found.error, error), (found.warning, warning)):
        assert words is None if wanted is None else wanted in words
    if found.error:
        assert f"{steps.optimizer} at learning rate {steps.learning_rate:g}" in found.error
        assert "optimizer.weights to bfloat16" in found.error


@pytest.mark.parametrize(
    ("name", "options", "size", "kept"),
    [
        ("adamw_torch_fused", {}, 1e-6, False),
        ("paged_adamw_8bit", {}, 1e-6, False),
        ("torch.AdamW", {}, 1e-6, False),
        ("adafactor", {}, 1e-6, False),
        ("lion_32bit", {}, 1e-6, False),
        ("ademamix", {}, 6e-6, False),
        ("rmsprop", {}, 1e-5, False),
        ("adamw_torch_8bit", {"bf16_stochastic_round": "True"}, 1e-6, True),
        ("adamw_torch_8bit", {}, 1e-6, False),
        ("adamw_anyprecision", {"use_kahan_summation": "true"}, 1e-6, True),
        ("adamw_anyprecision", {}, 1e-6, False),
        ("stable_adamw", {}, 1e-6, True),
        ("optimi.AdamW", {"kahan_sum": True}, 1e-6, True),
        ("optimi.AdamW", {"kahan_sum": False}, 1e-6, False),
        ("optimi.SGD", {}, None, True),
        ("lomo", {}, None, False),
        ("sgd", {}, None, False),
    ],
)
def test_optimizers_are_recognized_by_name(name, options, size, kept):
    found = steps_of(name, 1e-6, options=options)
    assert (found.size, found.kept) == (size and pytest.approx(size), kept)


def test_sgd_steps_follow_the_gradient_clip():
    # A norm of 1 over 10^6 weights is 10^-3 each; a momentum of 0.9 sums ten of them.
    assert steps_of("sgd", 1e-2, clip=1.0, trained=10**6).size == pytest.approx(1e-5)
    more = steps_of("sgd", 1e-2, options={"momentum": "0.9"}, clip=1.0, trained=10**6)
    assert more.size == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("sections", "has_bfloat16", "wanted"),
    [
        ({}, True, ("bfloat16", "float32", "float32")),
        ({}, False, ("float32", "float32", "float32")),
        ({"model": {"dtype": "bfloat16"}}, False, ("bfloat16", "float32", "float32")),
        ({"model": {"dtype": "float16"}}, True, ("float16", "float32", "float32")),
        ({"model": {"dtype": "float32"}}, True, ("float32", "float32", "float32")),
        ({"model": {"lora": {}}}, True, ("bfloat16", "bfloat16", "float32")),
        ({"model": {"lora": {}}}, False, ("float32", "float32", "float32")),
        ({"optimizer": {"weights": "bfloat16"}}, False, ("bfloat16", "bfloat16", "bfloat16")),
    ],
)
def test_resolved_precision_of_a_configuration(sections, has_bfloat16, wanted):
    found = precision_of(configured(**sections), has_bfloat16=has_bfloat16)
    assert found == Precision(*wanted)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"dtype": "float32"}, "model.dtype=float32"),
        ({"dtype": "float16"}, "model.dtype=float16"),
        ({"lora": {}}, "adapters"),
    ],
)
def test_bfloat16_weights_require_bfloat16_forwards(model, words):
    config = configured(model=model, optimizer={"weights": "bfloat16"})
    with pytest.raises(ConfigError, match=words):
        precision_of(config, has_bfloat16=True)


def configured(**sections):
    values = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"output": "r", "batches": 1}}
    for name, options in sections.items():
        values[name] = {**values.get(name, {}), **options}
    return configuration.parse(values)
