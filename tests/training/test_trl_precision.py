"""Precision on TRL: its options, errors, and compensated sums."""

import shutil

import pytest
import torch
import training_cases as tc
from transformers import AutoModelForImageTextToText

from vantage import config as configuration
from vantage.errors import ConfigError
from vantage.training.trl import precision
from vantage.training.trl.run import arguments

SUMS = {"model_init_kwargs": {"dtype": "bfloat16"}, "compensated_sums": True, "adam_beta2": 0.99}
USUAL = {"optim": "adamw_torch_fused", "learning_rate": 1e-6, "bf16": True}
BFLOAT16 = {"model_init_kwargs": {"dtype": "bfloat16"}}


def configured(path: str = "m", **sections):
    values = {"model": {"path": path}, "data": {"train": "d"}, "run": {"output": "r", "batches": 1}}
    for name, options in {"trl": {"use_cpu": True}, **sections}.items():
        values[name] = {**values.get(name, {}), **options}
    values["trl"] = {"use_cpu": True, **values["trl"]}
    return configuration.parse(values)


@pytest.mark.parametrize(
    ("sections", "dtype", "bf16", "fp16"),
    [
        ({}, "float32", False, False),  # no GPU
        ({"model": {"dtype": "bfloat16"}}, "float32", True, False),
        ({"model": {"dtype": "float16"}}, "float32", False, True),
        ({"model": {"dtype": "float32"}}, "float32", False, False),
        ({"model": {"dtype": "bfloat16", "lora": {}}}, "bfloat16", True, False),
        ({"trl": {"bf16": True}}, "float32", True, False),
        ({"trl": {"bf16": None}}, "float32", False, False),
        ({"model": {"dtype": "bfloat16"}, "trl": {"bf16": True}}, "float32", True, False),
        ({"optimizer": {"weights": "bfloat16"}}, "bfloat16", True, False),
        ({"trl": BFLOAT16}, "bfloat16", False, False),
    ],
)
def test_precision_options_passed_to_trl(sections, dtype, bf16, fp16):
    args = arguments(configured(**sections))
    assert args.model_init_kwargs["dtype"] == dtype
    assert (args.bf16, args.fp16) == (bf16, fp16)
    summed = sections.get("optimizer") is not None
    assert args.compensated_sums == summed
    assert args.adam_beta2 == (0.99 if summed else 0.999)


def test_model_init_kwargs_are_merged():
    args = arguments(
        configured(
            model={"attention": "sdpa"}, trl={"model_init_kwargs": {"trust_remote_code": False}}
        )
    )
    wanted = {"attn_implementation": "sdpa", "dtype": "float32", "trust_remote_code": False}
    assert args.model_init_kwargs == wanted


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"dtype": "float32"}, "trl": {"bf16": True}}, "trl.bf16=true contradicts"),
        ({"model": {"dtype": "bfloat16"}, "trl": {"bf16": False}}, "trl.bf16=false contradicts"),
        ({"model": {"dtype": "bfloat16"}, "trl": {"fp16": True}}, "model.dtype=bfloat16"),
        ({"trl": {"fp16": True, "bf16": True}}, "contradicts"),
        ({"trl": {"model_init_kwargs": {"dtype": "auto"}}}, "dtype='auto': leave it out"),
        (
            {
                "optimizer": {"weights": "bfloat16"},
                "trl": {"model_init_kwargs": {"dtype": "float32"}},
            },
            "contradicts optimizer.weights=bfloat16",
        ),
        (
            {"optimizer": {"weights": "bfloat16"}, "trl": {"optim": "sgd"}},
            "optim='sgd' with compensated_sums",
        ),
        (
            {
                "model": {"dtype": "bfloat16"},
                "trl": {"use_transformers_continuous_batching": True},
            },
            "TRL permanently converts the trained weights",
        ),
        (
            {"optimizer": {"weights": "bfloat16"}, "trl": {"adam_beta2": 0.999}},
            "a decay of 0.001 is rounded away; set 0.99",
        ),
    ],
)
def test_contradictory_options_raise(sections, words):
    with pytest.raises(ConfigError) as caught:
        arguments(configured(**sections))
    assert words in str(caught.value)


@pytest.mark.parametrize("flag", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_compensated_sums_with_sharding_raise(flag, monkeypatch):
    monkeypatch.setenv(flag, "true")
    with pytest.raises(ConfigError, match="FSDP and DeepSpeed keep sharded weights"):
        precision.check_options(tc.config("r", **SUMS, **USUAL))


def test_accelerate_and_configuration_must_agree_on_precision(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert arguments(configured(model={"dtype": "bfloat16"})).mixed_precision == "bf16"
    with pytest.raises(ConfigError, match=r"in float32 .*: start it with --mixed_precision no"):
        arguments(configured(model={"dtype": "float32"}))


def test_bfloat16_second_moment_decays_at_0_99_but_not_at_0_999():
    """Why compensated sums come with another beta: a decay is rounded away."""
    moments = torch.linspace(1, 2, 129)[:-1].bfloat16()  # every number between 1 and 2
    assert torch.equal(moments.clone().mul_(0.999), moments)
    assert (moments.clone().mul_(0.99) < moments).all()


def test_untrainable_bfloat16_weights_raise(tiny_model, tmp_path):
    spread(tiny_model, tmp_path / "model")
    rows = tc.mixed_rows(4)
    with pytest.raises(ConfigError, match="adamw_torch_fused at learning rate 1e-06 cannot train"):
        tc.trainer(str(tmp_path / "model"), rows, tmp_path, **USUAL, **BFLOAT16)
    model = loaded(tmp_path / "model", torch.float16)
    with pytest.raises(ConfigError, match="kept in float16"):
        tc.trainer(model, rows, tmp_path, **USUAL, rest=with_processor(tiny_model))
    model = loaded(tmp_path / "model", torch.bfloat16)
    own = {
        **with_processor(tiny_model),
        "optimizers": (torch.optim.AdamW(model.parameters(), 1e-6), None),
    }
    with pytest.raises(ConfigError, match=r"torch\.AdamW at learning rate 1e-06"):
        tc.trainer(model, rows, tmp_path, **{**USUAL, "learning_rate": 1.0}, rest=own)


def test_learning_rate_that_moves_bfloat16_weights_passes(tiny_model, tmp_path, caplog):
    spread(tiny_model, tmp_path / "model")
    high = {**USUAL, "learning_rate": 1e-3}
    tc.trainer(str(tmp_path / "model"), tc.mixed_rows(4), tmp_path, **high, **BFLOAT16)
    assert "moves nothing in" in caplog.text


def test_compensated_sums_require_bfloat16_weights(tiny_model, tmp_path):
    sums = {**SUMS, "model_init_kwargs": {"dtype": "float32"}}
    with pytest.raises(ConfigError, match=r"are in torch.float32: load the model in bfloat16"):
        tc.trainer(tiny_model, tc.mixed_rows(4), tmp_path, **USUAL, **sums)


def test_compensated_sums_conflict_with_another_optimizer(tiny_model, tmp_path):
    model = loaded(tiny_model, torch.bfloat16)
    own = {"optimizers": (torch.optim.SGD(model.parameters(), 1.0), None)}
    rest = {**with_processor(tiny_model), **own}
    with pytest.raises(ConfigError, match="optimizers has a SGD: leave one of them out"):
        tc.trainer(model, tc.mixed_rows(4), tmp_path, **USUAL, **SUMS, rest=rest)


def test_compensated_sums_keep_small_steps_and_resume(tiny_model, tmp_path):
    spread(tiny_model, tmp_path / "model")
    rows = tc.mixed_rows(8, live=tuple(range(8)))

    def trained(run, **how):
        options = {**USUAL, **SUMS, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
        made = tc.trainer(str(tmp_path / "model"), rows, run, **options)
        before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
        made.train(**how)
        return made, before

    whole, before = trained(tmp_path / "whole")
    state = whole.optimizer.optimizer.state
    assert type(whole.optimizer.optimizer).__module__.startswith("optimi")
    moved = total = 0
    for name, weights in whole.model.named_parameters():
        assert weights.dtype == torch.bfloat16
        if weights not in state:
            continue  # no gradient
        held = weights.double() + state[weights]["kahan_comp"].double()
        reached = state[weights]["exp_avg_sq"] > 0
        moved += ((held != before[name].double()) & reached).sum().item()
        total += reached.sum().item()
    assert moved / total > 0.99

    again = tmp_path / "again"
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", again / "checkpoint-2")
    gone_on, _ = trained(again, resume_from_checkpoint=True)
    assert gone_on.state.global_step == 4
    for one, other in zip(whole.model.parameters(), gone_on.model.parameters(), strict=True):
        assert torch.equal(one, other)
        for name in state.get(one, {}):
            there = gone_on.optimizer.optimizer.state[other][name]
            assert torch.equal(state[one][name], there), name
    assert "kahan_comp" in next(iter(state.values()))


def spread(model: str, directory) -> None:
    """The tiny model with matrices of standard deviation 0.02, as published ones have them."""
    shutil.copytree(model, directory)
    made = AutoModelForImageTextToText.from_pretrained(model)
    torch.manual_seed(0)
    for weights in made.parameters():
        if weights.ndim > 1:
            weights.data.normal_(0, 0.02)
    made.save_pretrained(directory)


def loaded(directory, dtype):
    return AutoModelForImageTextToText.from_pretrained(directory, dtype=dtype)


def with_processor(model: str) -> dict:
    from transformers import AutoProcessor

    return {"processing_class": AutoProcessor.from_pretrained(model)}
