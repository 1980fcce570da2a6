"""The model that is measured, and all that is used of vantage's internals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from qwen import processor_of, qwen, qwen_3b
from update_step import Work

from gpu.chip import DEVICE
from vantage.checking import memory
from vantage.training.precision import BYTES, Precision
from vantage.training.resolved import Forward
from vantage.training.trl import freeze_vision_tower
from vantage.training.trl.encoding import Encoding, merge_fields, per_prompt
from vantage.training.trl.forwards import Packing
from vantage.training.trl.packing import IGNORED, Pack, Segment
from vantage.training.trl.resolving import TILE

TINY = Work("tiny", 28, 8)


def model_of(tiny: bool) -> torch.nn.Module:
    """Qwen2.5-VL-3B's architecture in bfloat16, or a tiny one; random weights, tower frozen."""
    model = qwen(TINY.vocabulary).to(DEVICE) if tiny else qwen_3b()
    model.config.architectures = [type(model).__name__]
    freeze_vision_tower(model)
    return model


def processor(work: Work, tiny: bool):
    """The processor for the pictures of some work."""
    return processor_of(work.side, 1 if tiny else 2)


def estimate_gib(model, *, rows: int, prompt: int, response: int, optimizer: bool) -> float:
    """GiB that vantage expects training to take, checkpointed, without a KL.

    Args:
        model: that is trained.
        rows, prompt, response: of a forward.
        optimizer: whether the optimizer keeps states.
    """
    kind = "float32" if model.dtype == torch.float32 else "bfloat16"
    forward = "bfloat16" if torch.cuda.is_available() else kind
    sizes = memory.sizes(model.config, Precision(forward, kind, kind), freeze_vision=True)
    found = memory.estimate(
        sizes, Forward(rows, response, tile=TILE), prompt=prompt, forward_bytes=BYTES[forward]
    )
    return (found.total - (0 if optimizer else found.optimizer)) / 2**30


@dataclass(frozen=True)
class Group:
    """A prompt with a picture, and responses to it of equal length.

    Attributes:
        encoding: the prompt.
        responses_GR: tokens of the responses.
    """

    encoding: Encoding
    responses_GR: torch.Tensor

    @classmethod
    def of(cls, work: Work, tiny: bool) -> Group:
        """Noise as a picture, tokens at random."""
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (work.side, work.side, 3), dtype=np.uint8)
        parts = [
            {"type": "image", "image": Image.fromarray(noise)},
            {"type": "text", "text": "Add the digits."},
        ]
        made = processor(work, tiny).apply_chat_template(
            [[{"role": "user", "content": parts}]],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"return_tensors": None},
        )
        fields = dict(made)
        ids = list(fields.pop("input_ids")[0])
        fields.pop("attention_mask", None)
        tokens_GR = torch.from_numpy(rng.integers(20, 250, (work.group, work.response)))
        known = per_prompt(fields, torch.float32)
        return cls(Encoding("", ids, [noise], known), tokens_GR)

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.encoding.ids)

    def packs(self, sizes: Sequence[int]) -> list[Pack]:
        """The responses in packs of so many: one each is a row of its own."""
        length, numbers = self.responses_GR.shape[1], iter(range(len(self.responses_GR)))
        return [
            Pack(0, self.prompt - 1, tuple(Segment(next(numbers), length) for _ in range(size)))
            for size in sizes
        ]

    @torch.no_grad()
    def log_probs(self, model, packs: Sequence[Pack], *, shift: int = 0) -> torch.Tensor:
        """Log-probs of the responses in some packs, computed in one forward: [G x R], float32.

        Args:
            model: a Qwen2.5-VL.
            packs: a batch of them.
            shift: of the positions of all responses; wrong unless it is 0.
        """
        _, inputs = Packing("on").inputs(
            model, list(packs), lambda prompt: self.encoding, lambda n: self.responses_GR[n]
        )
        labels_BT = inputs.pop("shift_labels").to(DEVICE)
        del inputs["labels"]
        pixels = merge_fields([self.encoding] * len(packs))
        inputs |= {name: pixels[name] for name in ("pixel_values", "image_grid_thw")}
        if shift:
            inputs["position_ids"][..., self.prompt - 1 :] += shift
        inputs = {name: value.to(DEVICE) for name, value in inputs.items()}
        hidden_BTH = model.model(**inputs, use_cache=False).last_hidden_state
        scored = labels_BT != IGNORED
        logits = model.lm_head(hidden_BTH[scored]).float()
        return logits.log_softmax(-1).gather(-1, labels_BT[scored][:, None])[:, 0]


class Counted:
    """FLOP of the forwards and backwards of a model whose tower is frozen.

    6 a weight of the language model's layers and token, 12 a hidden unit, layer and pair of a
    token and one that it sees, 2 a weight of the tower and patch, 6 a weight of the head and
    token that is scored. What checkpointing computes again does not count.
    """

    def __init__(self, model):
        self.tokens = self.pairs = self.patches = 0
        self._text, self._tower = model.model.language_model, model.model.visual
        config = model.config.get_text_config()
        self._weights = sum(p.numel() for p in self._text.layers.parameters())
        self._pair = config.num_hidden_layers * config.hidden_size
        self._head = config.vocab_size * config.hidden_size
        self._tower_weights = sum(p.numel() for p in self._tower.parameters())

    def __enter__(self) -> Counted:
        self._handles = [
            self._text.register_forward_pre_hook(self._language, with_kwargs=True),
            self._tower.register_forward_pre_hook(self._vision, with_kwargs=True),
        ]
        return self

    def __exit__(self, *error) -> None:
        for handle in self._handles:
            handle.remove()

    def flop(self, scored: int) -> float:
        """FLOP so far.

        Args:
            scored: tokens whose log-probs the loss takes.
        """
        language = 6 * self._weights * self.tokens + 12 * self._pair * self.pairs
        return language + 2 * self._tower_weights * self.patches + 6 * self._head * scored

    def _language(self, module, args, kwargs) -> None:
        if not torch.is_grad_enabled():
            return  # log-probs, which no step trains
        batch, length = kwargs["inputs_embeds"].shape[:2]
        mask = kwargs.get("attention_mask")
        self.tokens += batch * length
        if torch.is_tensor(mask) and mask.ndim == 4:
            self.pairs += int((mask if mask.dtype == torch.bool else mask == 0).sum())
        else:
            self.pairs += batch * length * (length + 1) // 2

    def _vision(self, module, args, kwargs) -> None:
        if torch.is_grad_enabled():
            self.patches += len(args[0] if args else kwargs["hidden_states"])
