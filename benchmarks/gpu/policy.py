"""The measured model, and all access to vantage's internals."""

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
from vantage.training.trl import attention, freeze_vision_tower
from vantage.training.trl.encoding import Encoding, merge_fields, per_prompt
from vantage.training.trl.exactness import Packing
from vantage.training.trl.packing import IGNORED, Pack, Segment
from vantage.training.trl.resolving import TILE

TINY = Work("tiny", 28, 8)


def model_of(tiny: bool) -> torch.nn.Module:
    """Make a Qwen2.5-VL-3B in bfloat16, or a tiny one, with random weights and a frozen tower."""
    model = qwen(TINY.vocabulary).to(DEVICE) if tiny else qwen_3b()
    model.config.architectures = [type(model).__name__]
    freeze_vision_tower(model)
    return model


def processor(work: Work, tiny: bool):
    """Make the processor for the images of some work."""
    return processor_of(work.side, 1 if tiny else 2)


def estimate_gib(model, *, rows: int, prompt: int, response: int, optimizer: bool) -> float:
    """Vantage's estimate of training memory in GiB, with gradient checkpointing and without KL.

    Args:
        model: The trained model.
        rows: Rows of a forward pass.
        prompt, response: Tokens of prompt and response in a row.
        optimizer: Whether the optimizer has states.
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
    """A prompt with an image, and responses to it of equal length.

    Attributes:
        encoding: Encoding of the prompt.
        responses_GR: Token ids of the responses.
    """

    encoding: Encoding
    responses_GR: torch.Tensor

    @classmethod
    def of(cls, work: Work, tiny: bool) -> Group:
        """Make a group with an image of noise and random response tokens."""
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
        """Pack the responses into packs of the given sizes; a pack of one is an ordinary row."""
        length, numbers = self.responses_GR.shape[1], iter(range(len(self.responses_GR)))
        return [
            Pack(0, self.prompt - 1, tuple(Segment(next(numbers), length) for _ in range(size)))
            for size in sizes
        ]

    @torch.no_grad()
    def log_probs(self, model, packs: Sequence[Pack], *, shift: int = 0) -> torch.Tensor:
        """Log-probs of the responses in some packs, from one forward pass: [G x R], float32.

        Args:
            model: A Qwen2.5-VL.
            packs: A batch of packs.
            shift: Offset of the positions of all responses; any value but 0 is wrong.
        """
        packed, inputs = Packing("on").inputs(
            model, list(packs), lambda prompt: self.encoding, lambda n: self.responses_GR[n]
        )
        labels_1T = inputs.pop("shift_labels").to(DEVICE)
        del inputs["labels"]
        pixels = merge_fields([self.encoding] * len(packs))
        inputs |= {name: pixels[name] for name in ("pixel_values", "image_grid_thw")}
        for start in packed.start.values():
            inputs["position_ids"][..., start : start + self.responses_GR.shape[1]] += shift
        inputs = {name: value.to(DEVICE) for name, value in inputs.items()}
        with attention.packed(packed.layout, model.config.get_text_config()):
            hidden_1TH = model.model(**inputs, use_cache=False).last_hidden_state
        scored = labels_1T != IGNORED
        logits = model.lm_head(hidden_1TH[scored]).float()
        return logits.log_softmax(-1).gather(-1, labels_1T[scored][:, None])[:, 0]


class Counted:
    """Count the FLOP of forward and backward passes of a model with a frozen tower.

    The count is the sum of

    - 6 per weight of the language model's layers and token,
    - 12 per hidden unit, layer and attended pair of tokens,
    - 2 per weight of the tower and patch,
    - 6 per weight of the head and scored token.

    Recomputation in checkpointing does not count.
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
            scored: Number of tokens whose log-probs enter the loss.
        """
        language = 6 * self._weights * self.tokens + 12 * self._pair * self.pairs
        return language + 2 * self._tower_weights * self.patches + 6 * self._head * scored

    def _language(self, module, args, kwargs) -> None:
        if not torch.is_grad_enabled():
            return  # a pass for log-probs, without gradients
        batch, length = kwargs["inputs_embeds"].shape[:2]
        layout = attention.current()
        self.tokens += batch * length
        self.pairs += layout.pairs if layout else batch * length * (length + 1) // 2

    def _vision(self, module, args, kwargs) -> None:
        if torch.is_grad_enabled():
            self.patches += len(args[0] if args else kwargs["hidden_states"])
