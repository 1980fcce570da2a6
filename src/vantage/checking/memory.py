"""How much memory training takes, and how far an epoch goes: estimates, from sizes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import accelerate
import torch
import transformers
from peft import PeftConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel
from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as VOCABULARY_CHUNK

from vantage.training.trl import freeze_vision_tower

# Values a token and hidden unit that a layer keeps for its backward pass, and those a pair of
# tokens and head where attention is written out: https://arxiv.org/abs/2205.05198, sec. 4.1,
# eq. 1, in values instead of bytes of 16 bits.
KEPT = 17
KEPT_A_PAIR = 2.5

FORMULA = (
    "weights P b; gradients T t; AdamW's two states 2 T t; reference P b with a KL and no LoRA; "
    "activations B S H (L + 17) c with checkpointing, B S H 17 L c without; "
    "logits 4 (tile + B R H + V H). P parameters of b bytes, T trained of t bytes, c bytes of "
    "the forward, B rows of S tokens, R of them the response, H hidden units, L layers, "
    "V tokens in the vocabulary. The vision tower's activations, the sampler's cache and "
    "fragmentation are left out."
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model.

    Attributes:
        parameters: all of them; bytes each.
        trained: parameters that are trained; trained_bytes each.
        hidden, layers, heads, vocabulary: of the language model.
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
    trains_head: bool
    adapters: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes on one process; see `estimate`."""

    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        parts = (self.weights, self.gradients, self.optimizer, self.reference)
        return sum(parts) + self.activations + self.logits


@dataclass(frozen=True)
class Pace:
    """An epoch: rollout batches, optimizer updates, and rollouts generated."""

    batches: int
    updates: int
    rollouts: int


def sizes(
    config: Any,
    *,
    dtype: str = "auto",
    lora: PeftConfig | None = None,
    freeze_vision: bool = False,
) -> Sizes:
    """The sizes of a model, from its configuration; no weight is loaded or allocated.

    Args:
        config: of the model.
        dtype: of its weights; "auto" for the one that it was saved in.
        lora: adapters, if they are trained instead.
        freeze_vision: whether the vision tower is left as it is.

    Raises:
        ConfigError: no vision tower to freeze.
        ValueError: adapters that fit no module.
    """
    model = empty(config)
    parameters = sum(p.numel() for p in model.parameters())
    kind = config.dtype or torch.float32 if dtype == "auto" else getattr(torch, dtype)
    kind = kind if isinstance(kind, torch.dtype) else getattr(torch, str(kind))
    head = model.get_output_embeddings()
    if lora is not None:
        with accelerate.init_empty_weights():
            model = get_peft_model(model, lora)
    if freeze_vision:
        freeze_vision_tower(model)
    text = config.get_text_config()
    return Sizes(
        parameters,
        kind.itemsize,
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        # peft keeps adapters in 32 bits.
        kind.itemsize if lora is None else max(4, kind.itemsize),
        text.hidden_size,
        text.num_hidden_layers,
        text.num_attention_heads,
        text.vocab_size,
        head is not None and head.weight.requires_grad,
        lora is not None,
    )


def empty(config: Any) -> PreTrainedModel:
    """The model of a configuration, without memory for its weights."""
    name = next(iter(config.architectures or ()), "")
    kind = getattr(transformers, name, None)
    with accelerate.init_empty_weights():
        made = kind(config) if kind else AutoModelForCausalLM.from_config(config)
    made.tie_weights()
    return made


def estimate(
    sizes: Sizes,
    *,
    rows: int,
    prompt: int,
    response: int,
    forward_bytes: int,
    reference: bool,
    checkpointing: bool,
    written_out: bool = False,
) -> Memory:
    """Memory of an update on one process, in bytes.

    - weights: parameters x their bytes.
    - gradients: trained parameters x their bytes; AdamW keeps two more of the same size.
    - reference: the weights again, where a KL needs them; with LoRA the adapters are
      switched off instead.
    - activations of the language model, B rows of S tokens, H hidden units, L layers: each
      layer keeps 17 B S H values (and 2.5 B S S a head where attention is written out); with
      checkpointing one layer does, the others keep B S H each. Source: Korthikanti et al.,
      https://arxiv.org/abs/2205.05198, eq. 1 and sec. 5.
    - logits: TRL makes them in tiles of 32 bits, and keeps the gradients of the N = B x
      response hidden states and of the trained head, in 32 bits as well.

    Args:
        sizes: of the model.
        rows: of a forward.
        prompt, response: longest of each, in tokens.
        forward_bytes: of a value in the forward pass.
        reference: whether there is a KL.
        checkpointing: whether layers are computed again in the backward pass.
        written_out: whether attention is computed without a fused kernel.
    """
    weights = sizes.parameters * sizes.bytes
    trained = sizes.trained * sizes.trained_bytes
    length = prompt + response
    hidden = rows * length * sizes.hidden
    layer = KEPT * hidden
    if written_out:
        layer += math.ceil(KEPT_A_PAIR * rows * length * length * sizes.heads)
    kept = sizes.layers * hidden + layer if checkpointing else sizes.layers * layer
    scored = rows * response
    tile = min(scored, TOKEN_CHUNK_SIZE) * min(sizes.vocabulary, VOCABULARY_CHUNK)
    head = sizes.vocabulary * sizes.hidden if sizes.trains_head else 0
    return Memory(
        weights,
        trained,
        2 * trained,
        weights if reference and not sizes.adapters else 0,
        kept * forward_bytes,
        4 * (tile + scored * sizes.hidden + head),
    )


def pace(questions: int, *, batch: int, rollouts: int, updates: int) -> Pace:
    """What an epoch amounts to.

    Args:
        questions: that can be asked.
        batch: questions of a rollout batch.
        rollouts: of a rollout batch.
        updates: of a rollout batch.
    """
    batches = max(1, questions // batch)  # as the trainer counts them
    return Pace(batches, batches * updates, batches * rollouts)
