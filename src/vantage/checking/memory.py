"""Estimate of the memory of training, from sizes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import accelerate
import transformers
from peft import PeftConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from vantage.errors import reading
from vantage.training.precision import BYTES, Precision
from vantage.training.resolved import Cut, Forward
from vantage.training.towers import freeze_vision_tower

GIB = 2**30

# Values of the forward's precision that a layer keeps for its backward pass, a token and hidden
# unit, outside its MLP: inputs of norms (in float32) and projections, queries, keys, values and
# the output of attention. Where autocast computes in a lower precision than weights are kept in,
# the residual stream is float32 and every projection keeps a copy of its input.
KEPT = 12
KEPT_WITH_ADAPTERS = 14
KEPT_UNDER_AUTOCAST = 20
# The same of an MLP, a token and intermediate unit: gate, up, activation and their product; a
# plain one has two of them.
KEPT_GATED, KEPT_PLAIN = 4, 2
# A pair of tokens and head where attention is written out:
# https://arxiv.org/abs/2205.05198, sec. 4.1, in values instead of bytes of 16 bits.
KEPT_A_PAIR = 2.5

# What a process can use of a GPU's memory; the rest goes to the CUDA context and fragmentation.
USABLE = 0.95
GPUS = (24, 40, 48, 80, 96, 141)  # GiB

FORMULA = (
    "weights P b; gradients T t; AdamW's two states 2 T t, compensated sums T t more; copies that "
    "autocast makes T c where t > c; reference P b with a KL and no LoRA; activations of a layer "
    "B S (k H + m I) c, k 12 (14 with adapters, 20 under autocast with b > c), m 4 with a gate and "
    "2 without; of all L layers without checkpointing, else of one and B S H max(b, c) of each; "
    "logits c (tile + rows of the head H) + 4 (B R H + V H) on TRL, 2 B S V c on veRL. P "
    "parameters of b bytes, T trained of t bytes, c bytes of the forward, B rows of S tokens, R of "
    "them the response, H hidden units, I in the MLP, L layers, V tokens in the vocabulary. The "
    "vision tower's activations and fragmentation are left out."
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model.

    Attributes:
        parameters: all of them; bytes each.
        trained: parameters that are trained; trained_bytes each.
        hidden, layers, heads, vocabulary: of the language model.
        mlp: values a token that the MLP of a layer keeps for its backward pass.
        cached: values a token and layer of keys and values.
        trains_head: whether the last projection is trained.
        adapters: whether adapters are trained instead of the weights.
    """

    parameters: int
    bytes: int
    trained: int
    trained_bytes: int
    hidden: int
    layers: int
    heads: int
    vocabulary: int
    mlp: int
    cached: int
    trains_head: bool
    adapters: bool = False


@dataclass(frozen=True)
class Sampler:
    """A sampler, such as vLLM, on the same GPU.

    Attributes:
        share: of the GPU's memory that it takes.
        sleeps: whether it frees this memory during updates.
        needs: bytes of its weights and of the cache of one longest row.
        name: in the report.
    """

    share: float
    sleeps: bool
    needs: int
    name: str = "vLLM"


@dataclass(frozen=True)
class Memory:
    """Bytes of one process; see `estimate`."""

    weights: int
    gradients: int
    optimizer: int
    copies: int
    reference: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Bytes during an update."""
        parts = (self.weights, self.gradients, self.optimizer, self.copies, self.reference)
        return sum(parts) + self.activations + self.logits

    def beside(self, sampler: Sampler | None, gpu: int) -> int:
        """Peak of this process and a sampler, in bytes, on a GPU of `gpu` bytes.

        A sampler that sleeps during updates shares the GPU with the weights, the optimizer's
        states and the reference alone.
        """
        if sampler is None:
            return self.total
        taken = math.ceil(sampler.share * gpu)
        if not sampler.sleeps:
            return self.total + taken
        return max(self.total, self.weights + self.optimizer + self.reference + taken)

    def fits(self, sampler: Sampler | None, gpu: int) -> bool:
        """Whether a GPU of `gpu` bytes is enough; the fraction `USABLE` of it can be used."""
        if sampler and sampler.share * gpu < sampler.needs:
            return False
        return self.beside(sampler, gpu) <= USABLE * gpu


def sizes(
    config: Any,
    precision: Precision,
    *,
    lora: PeftConfig | None = None,
    freeze_vision: bool = False,
) -> Sizes:
    """Sizes of a model, from its configuration; no weight is loaded or allocated.

    Args:
        config: of the model.
        precision: in which it is loaded and trained.
        lora: adapters that are trained instead of the weights.
        freeze_vision: whether the vision tower is not trained.

    Raises:
        ConfigError: there is no vision tower to freeze.
        ValueError: the adapters fit no module.
    """
    model = empty(config)
    parameters = sum(p.numel() for p in model.parameters())
    gated = any("gate" in name.rpartition(".mlp.")[2] for name, _ in model.named_parameters())
    head = model.get_output_embeddings()
    if lora is not None:
        with accelerate.init_empty_weights():
            model = get_peft_model(model, lora)
    if freeze_vision:
        freeze_vision_tower(model)
    text = config.get_text_config()
    per_head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    pairs = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return Sizes(
        parameters,
        BYTES[precision.loaded],
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        BYTES[precision.trained],
        text.hidden_size,
        text.num_hidden_layers,
        text.num_attention_heads,
        text.vocab_size,
        (KEPT_GATED if gated else KEPT_PLAIN) * inner,
        2 * pairs * per_head,
        head is not None and head.weight.requires_grad,
        lora is not None,
    )


def empty(config: Any) -> PreTrainedModel:
    """The model of a configuration, without memory for its weights.

    Raises:
        ConfigError: no model can be built from the configuration.
    """
    name = next(iter(config.architectures or ()), "")
    kind = getattr(transformers, name, None)
    with reading(f"no model can be made of the configuration of {config.name_or_path!r}"):
        with accelerate.init_empty_weights():
            made = kind(config) if kind else AutoModelForCausalLM.from_config(config)
        made.tie_weights()
    return made


def estimate(
    sizes: Sizes,
    forward: Forward,
    *,
    prompt: int,
    forward_bytes: int,
    cut: Cut | None = None,
) -> Memory:
    """Memory of an update on one process, in bytes.

    - weights: parameters x their bytes.
    - gradients: trained parameters x their bytes; AdamW keeps two more of the same size, and
      compensated sums a third.
    - copies: autocast keeps one of every trained weight in the forward's precision, where that
      is lower, until the forward ends.
    - reference: the weights again, where a KL needs them; with LoRA the adapters are
      switched off instead.
    - activations of the language model, B rows of S tokens, H hidden units, I units in the
      MLP, L layers: each layer keeps B S (k H + m I) values, k and m as counted at `KEPT` (and
      2.5 B S S a head where attention is written out); with checkpointing one layer does, the
      others keep their input, B S H values, in float32 where weights are. Source of the method:
      Korthikanti et al., https://arxiv.org/abs/2205.05198, sec. 4.1 and 5; of the numbers: what
      autograd saves in transformers' layers, counted in `tests/checking/test_memory.py`.
    - logits: in tiles of the forward's precision (TRL), with a copy of the head's rows at work,
      and the gradients of the N = B x response hidden states and of the trained head in float32;
      or those of all B S tokens at once, and their gradient (veRL).

    FSDP cuts weights, gradients, states and reference, and gathers two layers, embeddings and
    head in the forward's precision. ZeRO keeps weights and gradients in the forward's precision
    and, cut, three float32 numbers a trained weight: itself and AdamW's states; stage 2 cuts
    gradients, stage 3 weights as FSDP does.

    Args:
        sizes: of the model.
        forward: of the update.
        prompt: longest, in tokens; `forward.prompt` is taken instead where it is given.
        forward_bytes: of a value in the forward pass.
        cut: how processes share the model; None for a copy on each.
    """
    weights = sizes.parameters * sizes.bytes
    trained = sizes.trained * sizes.trained_bytes
    lower = sizes.trained_bytes > forward_bytes
    length = (prompt if forward.prompt is None else forward.prompt) + forward.response
    made = Memory(
        weights,
        trained,
        (3 if forward.compensated else 2) * trained,
        sizes.trained * forward_bytes if lower else 0,
        weights if forward.reference and not sizes.adapters else 0,
        _activations(sizes, forward, length, forward_bytes),
        _logits(sizes, forward, length, forward_bytes),
    )
    return _shared(made, sizes, forward_bytes, cut) if cut else made


def sampler_needs(sizes: Sizes, *, length: int, value_bytes: int) -> int:
    """Bytes of vLLM's weights and of the cache of a row of `length` tokens."""
    cache = sizes.layers * sizes.cached * length
    return value_bytes * (sizes.parameters + cache)


def _activations(sizes: Sizes, forward: Forward, length: int, forward_bytes: int) -> int:
    autocast = sizes.bytes > forward_bytes
    kept = KEPT_WITH_ADAPTERS if sizes.adapters else KEPT
    kept = KEPT_UNDER_AUTOCAST if autocast else kept
    tokens = forward.rows * length
    layer = tokens * (kept * sizes.hidden + sizes.mlp) * forward_bytes
    if forward.written_out:
        pairs = tokens * length * sizes.heads
        layer += math.ceil(KEPT_A_PAIR * pairs) * forward_bytes
    if not forward.checkpointing:
        return sizes.layers * layer
    stream = tokens * sizes.hidden * max(sizes.bytes, forward_bytes)
    return sizes.layers * stream + layer


def _logits(sizes: Sizes, forward: Forward, length: int, forward_bytes: int) -> int:
    if forward.tile is None:
        return 2 * forward.rows * length * sizes.vocabulary * forward_bytes
    tokens, vocabulary = forward.tile
    width = vocabulary or sizes.vocabulary
    scored = forward.rows * forward.response
    tile = min(scored, tokens) * width
    copy = min(sizes.vocabulary, width) * sizes.hidden
    head = sizes.vocabulary * sizes.hidden if sizes.trains_head else 0
    return forward_bytes * (tile + copy) + 4 * (scored * sizes.hidden + head)


def _shared(whole: Memory, sizes: Sizes, forward_bytes: int, cut: Cut) -> Memory:
    """Memory of each of the processes that share a model."""
    if cut.by == "copies" or cut.processes == 1:
        return whole

    def part(number: int) -> int:
        return -(-number // cut.processes)

    ends = 2 * sizes.vocabulary * sizes.hidden
    gathered = (2 * sizes.parameters // sizes.layers + ends) * forward_bytes
    if cut.by == "fsdp":
        return replace(
            whole,
            weights=part(whole.weights),
            gradients=part(whole.gradients),
            optimizer=part(whole.optimizer),
            reference=part(whole.reference),
            copies=gathered,
        )
    weights, gradients = sizes.parameters * forward_bytes, sizes.trained * forward_bytes
    return replace(
        whole,
        weights=part(weights) if cut.stage >= 3 else weights,
        gradients=part(gradients) if cut.stage >= 2 else gradients,
        optimizer=part(12 * sizes.trained),
        copies=gathered if cut.stage >= 3 else 0,
        reference=part(whole.reference) if cut.stage >= 3 else whole.reference,
    )
