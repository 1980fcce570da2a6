"""The memory estimate equals sums by hand and values of real models."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2Config, Qwen2ForCausalLM

from vantage.checking.memory import (
    Memory,
    Sampler,
    Sizes,
    estimate,
    sampler_needs,
    sizes,
)
from vantage.training.precision import Precision
from vantage.training.resolved import Cut, Forward
from vantage.training.trl import freeze_vision_tower
from vantage.training.trl.resolving import TILE as TILE_OF_TRL

# A model in bfloat16 of which nine tenths are trained; a gated MLP of 10 units.
SMALL = Sizes(
    parameters=1000,
    bytes=2,
    trained=900,
    trained_bytes=2,
    hidden=8,
    layers=3,
    heads=2,
    vocabulary=50,
    mlp=4 * 10,
    cached=8,
    trains_head=True,
)
MASTERS = replace(SMALL, bytes=4, trained_bytes=4)
# 2 rows of 5 + 5 tokens: 20 tokens and 160 hidden values; 10 of the tokens are scored.
FORWARD = Forward(2, response=5, tile=TILE_OF_TRL)
PLAIN = replace(FORWARD, checkpointing=False)
SIZED = {"prompt": 5, "forward_bytes": 2}
TILE = 10 * 32_768  # the width of TRL's tiles does not depend on the vocabulary
BFLOAT16 = Precision("bfloat16", "bfloat16", "bfloat16")
FLOAT32 = Precision("bfloat16", "float32", "float32")


def test_the_estimate_equals_a_sum_by_hand():
    found = estimate(SMALL, replace(FORWARD, reference=True), **SIZED)
    assert found == Memory(
        weights=1000 * 2,
        gradients=900 * 2,
        optimizer=2 * 900 * 2,
        copies=0,
        reference=1000 * 2,
        activations=3 * 160 * 2 + 20 * (12 * 8 + 40) * 2,
        logits=2 * (TILE + 50 * 8) + 4 * (10 * 8 + 50 * 8),
    )
    assert found.total == 2000 + 1800 + 3600 + 2000 + (960 + 5440) + (656_160 + 1920)


def test_autocast_copies_float32_weights_to_bfloat16():
    found = estimate(MASTERS, FORWARD, **SIZED)
    assert (found.weights, found.gradients, found.optimizer) == (4000, 3600, 7200)
    assert found.copies == 900 * 2
    # The residual stream is in float32, and every projection copies its input.
    assert found.activations == 3 * 160 * 4 + 20 * (20 * 8 + 40) * 2
    assert found.logits == estimate(SMALL, FORWARD, **SIZED).logits
    whole = estimate(MASTERS, FORWARD, prompt=5, forward_bytes=4)
    assert whole.copies == 0
    assert whole.activations == 3 * 160 * 4 + 20 * (12 * 8 + 40) * 4


def test_compensated_sums_add_a_third_value_per_weight():
    found = estimate(SMALL, replace(FORWARD, compensated=True), **SIZED)
    assert found.optimizer == 3 * 900 * 2


@pytest.mark.parametrize(
    ("cut", "weights", "gradients", "optimizer", "copies"),
    [
        (Cut(4), 4000, 3600, 7200, 1800),
        # two of the three layers, embeddings and head: (666 + 2 x 50 x 8) x 2 bytes
        (Cut(4, "fsdp"), 1000, 900, 1800, 2932),
        (Cut(4, "zero", 1), 2000, 1800, 2700, 0),
        (Cut(4, "zero", 2), 2000, 450, 2700, 0),
        (Cut(4, "zero", 3), 500, 450, 2700, 2932),
        (Cut(1, "fsdp"), 4000, 3600, 7200, 1800),
    ],
)
def test_sharding_divides_memory_among_processes(cut, weights, gradients, optimizer, copies):
    found = estimate(MASTERS, FORWARD, **SIZED, cut=cut)
    assert (found.weights, found.gradients) == (weights, gradients)
    assert (found.optimizer, found.copies) == (optimizer, copies)


def test_a_sleeping_sampler_frees_memory_for_the_update():
    made = Memory(
        weights=14, gradients=12, optimizer=23, copies=6, reference=0, activations=7, logits=1
    )
    assert made.total == 63
    awake, asleep = Sampler(0.3, False, 8), Sampler(0.3, True, 8)
    assert made.beside(None, 80) == 63
    assert made.beside(awake, 80) == 63 + 24
    assert made.beside(asleep, 80) == 63  # 14 + 23 + 24 while it generates
    assert made.beside(asleep, 141) == 14 + 23 + 43
    assert made.fits(asleep, 80) and not made.fits(awake, 80) and made.fits(awake, 141)
    # 63 of 66 is more than 95 %; a share of 0.1 cannot hold the sampler's weights.
    assert not made.fits(None, 66) and made.fits(None, 67)
    assert not made.fits(Sampler(0.1, True, 9), 80)


def test_a_sampler_needs_its_weights_and_a_cached_row():
    assert sampler_needs(SMALL, length=10, value_bytes=2) == 2 * (1000 + 3 * 8 * 10)


def test_without_checkpointing_every_layer_saves_its_activations():
    found = estimate(SMALL, PLAIN, **SIZED)
    assert found.activations == 3 * 20 * (12 * 8 + 40) * 2
    assert found.reference == 0


def test_eager_attention_saves_every_pair_of_tokens():
    found = estimate(SMALL, replace(PLAIN, written_out=True), **SIZED)
    pairs = 2 * 10 * 10 * 2  # rows, tokens, tokens, heads
    assert found.activations == 3 * (20 * (12 * 8 + 40) + pairs * 5 // 2) * 2


@pytest.mark.parametrize(
    ("kind", "precision"), [("full", FLOAT32), ("full", BFLOAT16), ("lora", BFLOAT16)]
)
def test_saved_activations_equal_those_of_autograd(kind, precision):
    text = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 384}
    text |= {"num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen2Config(**text, architectures=["Qwen2ForCausalLM"])
    model = Qwen2ForCausalLM(config).to(getattr(torch, precision.loaded))
    lora = None
    if kind == "lora":
        lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
        precision = precision._replace(trained="float32")
    found = sizes(config, precision, lora=lora)
    assert found.mlp == 4 * 384
    rows, length = 2, 32
    forward = Forward(rows, response=0, checkpointing=False)
    wanted = estimate(found, forward, prompt=length, forward_bytes=2).activations
    assert saved_for_backward(model, rows, length) == pytest.approx(wanted, rel=0.1)


def saved_for_backward(model, rows: int, length: int) -> int:
    """Bytes per token and layer that the forward pass saves for the backward pass."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        by_token = rows * length in tensor.shape or tensor.shape[:1] == (rows,)
        if by_token and storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    layers = model.get_base_model().model if hasattr(model, "peft_config") else model.model
    hidden = torch.randn(rows, length, model.config.hidden_size, dtype=model.dtype)
    saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with saving, torch.autocast("cpu", torch.bfloat16):
        out = layers(inputs_embeds=hidden.requires_grad_())
    assert out.last_hidden_state.requires_grad
    return sum(size for size, _ in kept.values())


def test_logits_are_at_most_one_tile_of_the_engine():
    wide = estimate(
        Sizes(1, 2, 1, 2, 1, 1, 1, 10**6, 4, 2, False),
        replace(FORWARD, rows=10_000),
        **SIZED,
    )
    from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    tile = (TOKEN_CHUNK_SIZE + 1) * _CHUNKED_LOGPROB_CHUNK_SIZE  # with the head's rows, H = 1
    assert wide.logits == 2 * tile + 4 * 50_000


def test_sizes_equal_those_of_the_loaded_model(tiny_model):
    config = AutoConfig.from_pretrained(tiny_model)
    real = AutoModelForImageTextToText.from_pretrained(tiny_model)
    found = sizes(config, BFLOAT16)
    assert found.parameters == found.trained == sum(p.numel() for p in real.parameters())
    assert (found.bytes, found.hidden, found.layers) == (2, 96, 2)
    assert found.trains_head
    freeze_vision_tower(real)
    frozen = sizes(config, FLOAT32, freeze_vision=True)
    assert frozen.trained == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert (frozen.bytes, frozen.trained_bytes) == (4, 4)


def test_adapters_are_counted_and_need_no_reference_copy(tiny_model):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    real = get_peft_model(AutoModelForImageTextToText.from_pretrained(tiny_model), lora)
    found = sizes(
        AutoConfig.from_pretrained(tiny_model), BFLOAT16._replace(trained="float32"), lora=lora
    )
    assert found.trained == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert (found.bytes, found.trained_bytes) == (2, 4)
    estimated = estimate(found, replace(FORWARD, reference=True), **SIZED)
    assert estimated.reference == 0
    assert estimated.optimizer == 2 * found.trained * 4


def test_full_logits_are_counted_with_their_gradient():
    found = estimate(SMALL, replace(FORWARD, tile=None), **SIZED)
    assert found.logits == 2 * (2 * 10) * 50 * 2  # rows x tokens, vocabulary, bytes


def test_a_configured_prompt_length_overrides_the_measured_one():
    roomy = estimate(SMALL, replace(FORWARD, prompt=15), **SIZED)
    assert roomy == estimate(SMALL, FORWARD, prompt=15, forward_bytes=2)
