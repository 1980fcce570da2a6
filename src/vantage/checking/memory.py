"""Estimate the GPU memory of training from the sizes of the model and the batch."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace
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

# Activations that a layer outside its MLP saves for the backward pass, in values per token and
# hidden unit: inputs of norms (in float32) and projections, queries, keys, values and the output
# of attention. If autocast computes in a lower precision than that of the weights, the residual
# stream is float32 and every projection saves a copy of its input.
KEPT = 12
KEPT_WITH_ADAPTERS = 14
KEPT_UNDER_AUTOCAST = 20
# The same for an MLP, per token and intermediate unit: gate, up, activation and their product. An
# MLP without a gate saves two values.
KEPT_GATED, KEPT_PLAIN = 4, 2
# The same for eager attention, per pair of tokens and head:
# https://arxiv.org/abs/2205.05198, sec. 4.1, in values and not in bytes.
KEPT_A_PAIR = 2.5

# Usable fraction of a GPU's memory; the rest goes to the CUDA context and fragmentation.
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
        parameters, bytes: Number of parameters, and bytes of each.
        trained, trained_bytes: Number of trained parameters, and bytes of each.
        hidden, layers, heads, vocabulary: Sizes of the language model.
        mlp: Values per token that the MLP of a layer saves for the backward pass.
        cached: Size of the KV cache, in values per token and layer.
        trains_head: Whether the output projection is trained.
        adapters: Whether adapters are trained instead of the weights.
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
        share: Fraction of the GPU's memory that it takes.
        sleeps: Whether it frees this memory during updates.
        needs: Bytes of its weights and of the KV cache of one longest row.
        name: Name in the report.
    """

    share: float
    sleeps: bool
    needs: int
    name: str = "vLLM"


@dataclass(frozen=True)
class Memory:
    """Memory of one process, in bytes; see `estimate`."""

    weights: int
    gradients: int
    optimizer: int
    copies: int
    reference: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Bytes in use during an update."""
        return sum(astuple(self))

    def beside(self, sampler: Sampler | None, gpu: int) -> int:
        """Peak of this process and a sampler, in bytes, on a GPU of `gpu` bytes.

        A sampler that sleeps during updates shares the GPU only with the weights, the optimizer
        states and the reference.
        """
        if sampler is None:
            return self.total
        taken = math.ceil(sampler.share * gpu)
        if not sampler.sleeps:
            return self.total + taken
        return max(self.total, self.weights + self.optimizer + self.reference + taken)

    def fits(self, sampler: Sampler | None, gpu: int) -> bool:
        """Whether the fraction `USABLE` of a GPU of `gpu` bytes is enough."""
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
    """Compute the sizes of a model from its configuration, without allocating weights.

    Args:
        config: Configuration of the model.
        precision: Precision in which it is loaded and trained.
        lora: Adapters that are trained instead of the weights.
        freeze_vision: Whether the vision tower is frozen.

    Raises:
        ConfigError: The model has no vision tower to freeze.
        ValueError: The adapters match no module.
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
    """Build the model of a configuration on the meta device, without memory for its weights.

    Raises:
        ConfigError: No model can be built from the configuration.
    """
    name = next(iter(config.architectures or ()), "")
    kind = getattr(transformers, name, None)
    with reading(f"cannot build a model from the configuration of {config.name_or_path!r}"):
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
    """Estimate the memory of an update on one process, in bytes.

    - weights: parameters times bytes per parameter.
    - gradients: trained parameters times their bytes. AdamW keeps two states of the same size, and
      compensated sums take a third.
    - copies: autocast keeps a copy of every trained weight in the forward's precision, if that is
      lower, until the forward ends.
    - reference: the weights again, if a KL needs them. With LoRA, the adapters are disabled
      instead.
    - activations of the language model, for B rows of S tokens, H hidden units, I units in the
      MLP and L layers. Each layer saves B S (k H + m I) values, with k and m as at `KEPT`, plus
      2.5 B S S per head for eager attention. With checkpointing, only one layer does; the
      others save their input, B S H values, in float32 if the weights are. The method follows
      Korthikanti et al., https://arxiv.org/abs/2205.05198, sec. 4.1 and 5. The numbers are what
      autograd saves in transformers' layers, counted in `tests/checking/test_memory.py`.
    - logits: TRL computes tiles in the forward's precision, with a copy of the head's rows in
      use, and float32 gradients of the N = B x response hidden states and of the trained head.
      veRL computes the logits of all B S tokens at once, and their gradient.

    FSDP shards weights, gradients, states and reference, and gathers two layers, the embeddings
    and the head in the forward's precision. ZeRO keeps weights and gradients in the forward's
    precision, and shards three float32 values per trained weight: itself and AdamW's states.
    Stage 2 shards gradients as well, and stage 3 also weights, as FSDP does.

    Args:
        sizes: Sizes of the model.
        forward: Shapes and options of the update.
        prompt: Tokens of the longest prompt; overridden by `forward.prompt`, if set.
        forward_bytes: Bytes per value in the forward pass.
        cut: How processes shard the model; None for a copy on each.
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
    """Bytes of vLLM's weights and of the KV cache of one row of `length` tokens."""
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
    """Memory of each process, if processes shard the model."""
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
