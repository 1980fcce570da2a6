"""The estimate of memory, against sums on paper and real models."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText

from vantage.checking.memory import Memory, Pace, Sizes, estimate, pace, sizes
from vantage.training.trl import freeze_vision_tower

SMALL = Sizes(
    parameters=1000,
    bytes=2,
    trained=900,
    trained_bytes=2,
    hidden=8,
    layers=3,
    heads=2,
    vocabulary=50,
    trains_head=True,
)
# 2 rows of 5 + 5 tokens are 160 hidden values, 10 of the tokens are scored.
FORWARD = {"rows": 2, "prompt": 5, "response": 5, "forward_bytes": 2}


def test_the_estimate_is_the_sum_done_by_hand():
    found = estimate(SMALL, **FORWARD, reference=True, checkpointing=True)
    assert found == Memory(
        weights=1000 * 2,
        gradients=900 * 2,
        optimizer=2 * 900 * 2,
        reference=1000 * 2,
        activations=(3 + 17) * 160 * 2,
        logits=4 * (10 * 50 + 10 * 8 + 50 * 8),
    )
    assert found.total == 2000 + 1800 + 3600 + 2000 + 6400 + 3920


def test_without_checkpointing_every_layer_keeps_its_values():
    found = estimate(SMALL, **FORWARD, reference=False, checkpointing=False)
    assert found.activations == 3 * 17 * 160 * 2
    assert found.reference == 0


def test_attention_that_is_written_out_keeps_every_pair_of_tokens():
    found = estimate(SMALL, **FORWARD, reference=False, checkpointing=False, written_out=True)
    pairs = 2 * 10 * 10 * 2  # rows, tokens, tokens, heads
    assert found.activations == 3 * (17 * 160 + pairs * 5 // 2) * 2


def test_logits_are_no_larger_than_a_tile_of_the_engine():
    wide = estimate(
        Sizes(1, 2, 1, 2, 1, 1, 1, 10**6, False),
        **{**FORWARD, "rows": 10_000},
        reference=False,
        checkpointing=True,
    )
    from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    assert wide.logits == 4 * (TOKEN_CHUNK_SIZE * _CHUNKED_LOGPROB_CHUNK_SIZE + 50_000)


def test_sizes_are_those_of_the_model_without_loading_it(tiny_model):
    config = AutoConfig.from_pretrained(tiny_model)
    real = AutoModelForImageTextToText.from_pretrained(tiny_model)
    found = sizes(config, dtype="bfloat16")
    assert found.parameters == found.trained == sum(p.numel() for p in real.parameters())
    assert (found.bytes, found.hidden, found.layers) == (2, 96, 2)
    assert found.trains_head
    freeze_vision_tower(real)
    frozen = sizes(config, freeze_vision=True)
    assert frozen.trained == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert frozen.bytes == torch.float32.itemsize  # as it was saved


def test_adapters_are_counted_and_need_no_second_model(tiny_model):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    real = get_peft_model(AutoModelForImageTextToText.from_pretrained(tiny_model), lora)
    found = sizes(AutoConfig.from_pretrained(tiny_model), dtype="bfloat16", lora=lora)
    assert found.trained == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert (found.bytes, found.trained_bytes) == (2, 4)
    estimated = estimate(found, **FORWARD, reference=True, checkpointing=True)
    assert estimated.reference == 0
    assert estimated.optimizer == 2 * found.trained * 4


@pytest.mark.parametrize(
    ("questions", "expected"),
    [(100, Pace(6, 24, 768)), (16, Pace(1, 4, 128)), (3, Pace(1, 4, 128))],
)
def test_an_epoch_has_as_many_batches_as_the_trainer_makes(questions, expected):
    assert pace(questions, batch=16, rollouts=128, updates=4) == expected
