"""Which models compute packs exactly, and the positions and masks that they need."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from vantage.training.towers import VISION_TOWERS, towers
from vantage.training.trl.encoding import Encoding
from vantage.training.trl.packing import Cost

TAKES_MASKS = ("sdpa", "eager")
SENSES = (*VISION_TOWERS, "audio_tower", "audio_model", "audio_encoder")
# Processor outputs that mark image tokens; in some models these attend to later tokens.
BIDIRECTIONAL = "token_type_ids"
MULTIMODAL = "mm_token_type_ids"


def obstacle(model: PreTrainedModel, encodings: list[Encoding]) -> str | None:
    """Find a property of a model that makes packs inexact; None if there is none.

    Args:
        model: The bare model, in training mode.
        encodings: Some prompts.
    """
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention"}
    attention = getattr(text, "_attn_implementation", None)
    if attention not in TAKES_MASKS:
        return f"attention {attention!r} takes no mask; 'sdpa' does"
    if kinds:
        return f"layers with {', '.join(sorted(kinds))}"
    if getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True):
        return f"a sliding window of {text.sliding_window} tokens"
    if any(map(_is_recurrent, _language_modules(model))):
        return "a state that runs over the whole sequence"
    if _sees_later(model, encodings):
        return "image tokens that see later ones"
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


def _sees_later(model: PreTrainedModel, encodings: list[Encoding]) -> bool:
    """Whether attention among image tokens is bidirectional.

    Models use multimodal token types either for positions (`get_rope_index`) or for such a mask.
    """
    places = any(hasattr(module, "get_rope_index") for module in model.modules())
    telling = {BIDIRECTIONAL} if places else {BIDIRECTIONAL, MULTIMODAL}
    told = any(telling & encoding.fields.keys() for encoding in encodings)
    return told or bool(getattr(model.config.get_text_config(), "use_bidirectional_attention", 0))


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


def cost_of(model: PreTrainedModel) -> Cost:
    """Estimate the compute of tokens in the language model and of pixels in the vision tower.

    A token costs 2 FLOP per weight of the layers, and 4 · hidden · layers FLOP per token that it
    attends to. Both are equal at weights / (2 · hidden · layers) tokens. A pixel value costs its
    share of a patch, which passes through the weights of the vision tower.
    """
    text = model.config.get_text_config()
    vision = getattr(model.config, "vision_config", None)
    seeing = {id(p): _size(p) for tower in towers(model) for p in tower.parameters()}
    weights = sum(
        _size(p)
        for name, p in model.named_parameters()
        if ".layers." in f".{name}" and len(_shape(p)) > 1 and id(p) not in seeing
    )
    patch = 3 * area(getattr(vision, "patch_size", 14)) * getattr(vision, "temporal_patch_size", 1)
    pixel = sum(seeing.values()) / max(weights, 1) / patch if vision else 0.0
    even = weights / (2 * text.hidden_size * text.num_hidden_layers)
    return Cost(even=max(even, 1.0), pixel=pixel)


def _shape(weights: torch.Tensor) -> Sequence[int]:
    """Unsharded shape of a weight; DeepSpeed leaves an empty stub between forwards."""
    return getattr(weights, "ds_shape", weights.shape)


def _size(weights: torch.Tensor) -> int:
    return math.prod(_shape(weights))


def area(side: int | Sequence[int]) -> int:
    """Area of a square, or of a rectangle given by its sides."""
    return side**2 if isinstance(side, int) else math.prod(side)


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


def mask_for(model: PreTrainedModel, sees: torch.Tensor) -> torch.Tensor:
    """Convert the attention mask or padding mask of packs to the form of the model's attention."""
    if sees.ndim == 2:
        return sees.long()
    if model.config.get_text_config()._attn_implementation == "sdpa":
        return sees
    dtype = model.dtype
    hidden = torch.full_like(sees, torch.finfo(dtype).min, dtype=dtype)
    return hidden.masked_fill(sees, 0)
