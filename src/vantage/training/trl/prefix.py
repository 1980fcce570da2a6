"""Which models compute packs exactly, and the positions that they need."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from vantage.training.towers import VISION_TOWERS, towers
from vantage.training.trl import attention
from vantage.training.trl.encoding import Encoding

KINDS = {"full_attention", "sliding_attention"}  # layers whose attention can be packed
SENSES = (*VISION_TOWERS, "audio_tower", "audio_model", "audio_encoder")
# Processor output that marks image tokens.
MULTIMODAL = "mm_token_type_ids"


def obstacle(model: PreTrainedModel) -> str | None:
    """Find a property of a model, in training mode, that makes packs inexact; None if none does."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ()) - KINDS
    kind = getattr(text, "_attn_implementation", None)
    if kind not in (*attention.KINDS, *attention.MASKED):
        return f"attention {kind!r} has no packed form; 'sdpa' has"
    if kinds:
        return f"layers with {', '.join(sorted(kinds))}"
    if any(map(_is_recurrent, _language_modules(model))):
        return "a state that runs over the whole sequence"
    if getattr(text, "output_router_logits", False):
        return "an auxiliary loss of experts over all tokens"
    if getattr(text, "attention_dropout", 0) or any(map(drops, model.modules())):
        return "dropout that is active"
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        return "tokens of an adapter before each row"
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    if "position_ids" not in inspect.signature(inner.forward).parameters:
        return f"positions that {type(inner).__name__} does not take"
    if not any(hasattr(module, "rotary_emb") for module in model.modules()):
        return "positions that are not rotary"
    return None


def _language_modules(model: PreTrainedModel) -> list[nn.Module]:
    """All modules outside vision and audio towers."""
    inside = {id(part) for tower in towers(model, SENSES) for part in tower.modules()}
    return [module for module in model.modules() if id(module) not in inside]


def _is_recurrent(module: nn.Module) -> bool:
    """Whether a module mixes tokens regardless of the attention mask.

    It does with a recurrent state, which transformers marks, or a convolution over the sequence.
    """
    return isinstance(module, nn.Conv1d) or getattr(module, "_is_stateful", False)


def drops(module: nn.Module) -> bool:
    """Whether a module is active dropout."""
    return isinstance(module, nn.Dropout) and module.p > 0 and module.training


def positions(model: PreTrainedModel, encoding: Encoding) -> torch.Tensor:
    """Positions of the P tokens of a prompt, shape (P,), or (3, P) for time, height and width."""
    finder: Any = next((m for m in model.modules() if hasattr(m, "get_rope_index")), None)
    plain_P = torch.arange(len(encoding.ids))
    if finder is None:
        return plain_P
    types = encoding.fields.get(MULTIMODAL)
    if types is None or not encoding.images:
        return plain_P.expand(3, -1)
    ids_1P = torch.tensor([encoding.ids])
    known = {**encoding.fields, MULTIMODAL: torch.tensor([types])}
    known["attention_mask"] = torch.ones_like(ids_1P)
    takes = inspect.signature(finder.get_rope_index).parameters
    found_S1P, _ = finder.get_rope_index(
        ids_1P, **{name: value for name, value in known.items() if name in takes}
    )
    return found_S1P[:, 0]
