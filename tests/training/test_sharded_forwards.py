"""Settings of FSDP and DeepSpeed, and padding rows of forwards without an image."""

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch.distributed.fsdp import MixedPrecision, MixedPrecisionPolicy

from vantage.training.trl import sharding

BF16 = torch.bfloat16


def accelerator(kind, *, processes=2, **state):
    state = {"fsdp_plugin": None, "deepspeed_plugin": None} | state
    return SimpleNamespace(
        distributed_type=kind,
        num_processes=processes,
        state=SimpleNamespace(**state),
        gradient_state=SimpleNamespace(plugin_kwargs={}),
    )


def fsdp(version, policy=None):
    plugin = SimpleNamespace(fsdp_version=version, mixed_precision_policy=policy)
    return accelerator(DistributedType.FSDP, fsdp_plugin=plugin)


def zero(stage, **options):
    plugin = SimpleNamespace(zero_stage=stage, deepspeed_config=options)
    return accelerator(DistributedType.DEEPSPEED, deepspeed_plugin=plugin)


@pytest.mark.parametrize(
    ("version", "as_accelerate_makes_it", "expected"),
    [
        (
            2,
            MixedPrecisionPolicy(BF16, BF16, BF16),
            MixedPrecisionPolicy(BF16, torch.float32, None),
        ),
        (1, MixedPrecision(BF16, BF16, BF16), MixedPrecision(BF16, torch.float32, None)),
        (2, None, None),
    ],
)
def test_fsdp_casts_only_parameters(version, as_accelerate_makes_it, expected):
    made = fsdp(version, as_accelerate_makes_it)
    sharding.exchange_in_float32(made)
    assert made.state.fsdp_plugin.mixed_precision_policy == expected


@pytest.mark.parametrize(
    ("stage", "given", "expected"),
    [
        (1, {}, {"communication_data_type": "fp32"}),
        (2, {}, {"communication_data_type": "fp32", "data_types": {"grad_accum_dtype": "fp32"}}),
        (
            3,
            {"communication_data_type": "bf16", "data_types": {"grad_accum_dtype": "bf16"}},
            {"communication_data_type": "bf16", "data_types": {"grad_accum_dtype": "bf16"}},
        ),
    ],
)
def test_deepspeed_reduces_in_float32_by_default(stage, given, expected):
    made = zero(stage, **given)
    sharding.exchange_in_float32(made)
    assert made.state.deepspeed_plugin.deepspeed_config == expected


@pytest.mark.parametrize(
    ("made", "reduces"),
    [
        (fsdp(1), True),
        (fsdp(2), True),
        (zero(1), False),
        (zero(2), True),
        (zero(3), True),
        (accelerator(DistributedType.MULTI_GPU), False),
    ],
)
def test_unsharded_gradients_are_accumulated_locally(made, reduces):
    sharding.reduce_each_forward(made)
    assert made.gradient_state.plugin_kwargs.get("sync_each_batch", False) == reduces


COPIES, ONE = DistributedType.MULTI_GPU, accelerator(DistributedType.NO, processes=1)


@pytest.mark.parametrize(
    ("made", "frozen", "finds_unused", "expected"),
    [
        (ONE, False, True, False),
        (fsdp(2), True, True, True),
        (zero(3), True, True, True),
        (zero(2), False, True, True),
        (zero(2), True, True, False),
        (accelerator(COPIES), False, True, False),
        (accelerator(COPIES), False, False, True),
        (accelerator(COPIES), True, False, False),
    ],
)
def test_images_are_needed_in_all_forwards_if_vision_weights_are_shared(
    made, frozen, finds_unused, expected, model
):
    for name, weights in model.named_parameters():
        weights.requires_grad_(not frozen or "language_model" in name)
    args = SimpleNamespace(ddp_find_unused_parameters=finds_unused)
    assert sharding.all_must_see(made, model, args) == expected


@pytest.fixture(scope="module")
def model(tiny_model):
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(tiny_model)
