"""Forwards for log-probs: packed where that is exact, and images encoded once where they may be."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from vantage.errors import EngineError
from vantage.training.trl import packing, prefix
from vantage.training.trl.encoding import Encoding
from vantage.training.trl.packing import Cost, Pack

logger = logging.getLogger(__name__)

HEAD = 0.05  # of log-probs by TRL's head and by the model's, the most in the mean
# The mean difference of log-probs, packed against row by row, is compared with that of rows alone
# and rows together. So many times as much is noise:
NOISE = 2.0


class Rounding(NamedTuple):
    """Mean differences that rounding explains: where rows have no noise, and at most."""

    least: float
    most: float


# By the precision of the forward. One position off is 3e-4 at least, in models that hardly look at
# positions; 16 bits hide that.
ROUNDINGS = {torch.float64: Rounding(1e-9, 1e-6), torch.float32: Rounding(1e-5, 1e-4)}
COARSE = Rounding(2e-3, 0.05)


class Difference(NamedTuple):
    """Of log-probs, packed and row by row.

    Attributes:
        largest: over all tokens; mean: over all tokens.
        noise: mean difference of the same rows computed together and one by one.
    """

    largest: float
    mean: float
    noise: float


@contextlib.contextmanager
def without_autocast(accelerator: Accelerator, model: PreTrainedModel) -> Iterator[None]:
    """Within it, forwards compute in the precision of the weights.

    Args:
        accelerator: that prepared the model.
        model: the bare model.
    """
    forward, mixed = model.forward, accelerator.native_amp
    products = torch.get_float32_matmul_precision()
    model.forward = model.__dict__.get("_original_forward", forward)
    accelerator.native_amp = False
    torch.set_float32_matmul_precision("highest")  # no TF32
    try:
        yield
    finally:
        model.forward, accelerator.native_amp = forward, mixed
        torch.set_float32_matmul_precision(products)


class Packing:
    """Whether rows are packed, and how.

    Attributes:
        mode: "auto" packs where it is exact, "on" refuses to start where it is not, "off"
            never packs.
        works: whether packs are used; None before the first rollout batch has told.
        cost: of sequences in the model.
    """

    def __init__(self, mode: str):
        self.mode = mode
        self.works: bool | None = False if mode == "off" else None
        self.cost = Cost(even=float("inf"))
        self._positions: dict[int, torch.Tensor] = {}

    def clear(self) -> None:
        """Forget the prompts of the last batch."""
        self._positions.clear()

    def prepare(self, model: PreTrainedModel, encodings: list[Encoding]) -> None:
        """Look for something that keeps the model from reading packs exactly."""
        why = prefix.obstacle(model, encodings)
        if why is None:
            self.cost = prefix.cost_of(model)
        else:
            self.give_up(why)

    def judge(self, found: Difference, dtype: torch.dtype) -> None:
        """Pack from now on, or not, by how far packed log-probs are from those of rows.

        Args:
            found: over all tokens of one group and all processes.
            dtype: in which the model computed them.
        """
        rounding = ROUNDINGS.get(dtype, COARSE)
        if found.mean <= min(NOISE * found.noise + rounding.least, rounding.most):
            self.works = True
            logger.info(f"packing: log-probs within {found.largest:.1e} of those row by row")
            return
        self.give_up(
            f"log-probs differ by up to {found.largest:.1e} ({found.mean:.1e} in the mean; rows "
            f"alone and together by {found.noise:.1e})"
        )

    def give_up(self, why: str) -> None:
        """Go row by row, and say so once.

        Raises:
            EngineError: packing was asked for.
        """
        if self.mode == "on":
            raise EngineError(f"packing='on', but it is not exact here: {why}; set it to 'auto'")
        if self.works is not False:
            logger.warning(f"packing is off, each row has a prompt of its own: {why}")
        self.works = False

    def packs(
        self,
        keys: Sequence[tuple[int, int]],
        lengths: Sequence[int],
        encoding: Callable[[int], Encoding],
        budget: int,
    ) -> list[Pack]:
        """(prompt, rollout) rows as packs of at most `budget` tokens, where that can be."""
        prompts = {prompt: encoding(prompt) for prompt, _ in keys}
        prefixes = {prompt: len(found.ids) - 1 for prompt, found in prompts.items()}
        images = {prompt: self.cost.pixel * pixels(found) for prompt, found in prompts.items()}
        return packing.packs(keys, lengths, prefixes, images, self.cost, budget)

    def inputs(
        self,
        model: PreTrainedModel,
        made: list[Pack],
        encoding: Callable[[int], Encoding],
        response: Callable[[int], torch.Tensor],
    ) -> tuple[packing.Packed, dict[str, Any]]:
        """Packs as tensors, and what the model takes of them; pixels are left to the caller."""
        packed = packing.lay_out(
            made, encoding, lambda prompt: self._placed(model, prompt, encoding), response
        )
        return packed, {
            "input_ids": packed.input_ids_BT,
            "attention_mask": prefix.mask_for(model, packed.sees),
            "position_ids": packed.position_ids,
            "labels": None,
            "shift_labels": packed.labels_BT,
            **packed.types,
        }

    def _placed(self, model: PreTrainedModel, prompt: int, encoding: Callable) -> torch.Tensor:
        if prompt not in self._positions:
            self._positions[prompt] = prefix.positions(model, encoding(prompt))
        return self._positions[prompt]


@torch.no_grad()
def check_head(model: nn.Module, tokenizer: Any, temperature: float) -> None:
    """TRL computes log-probs from hidden states, without the head of the model: look once whether
    they are those of its logits.

    Raises:
        EngineError: they are not, or the model has no such hidden states.
    """
    name = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
    ids_1T = tokenizer("1 + 1 = 2", return_tensors="pt")["input_ids"].to(model.device)
    inputs = {"input_ids": ids_1T, "attention_mask": torch.ones_like(ids_1T)}
    training = model.training
    model.eval()
    try:
        found_1T = model(**inputs, labels=ids_1T, fused_lm_head=True).log_probs
        logits_1TV = model(**inputs).logits.float() / temperature
    except (AttributeError, TypeError) as error:
        raise EngineError(f"this TRL cannot score the tokens of {name}: {error}") from error
    finally:
        model.train(training)
    known = ids_1T.shape[1] - 1  # an adapter may put tokens of its own before them
    before_1TV = logits_1TV[:, -known - 1 : -1].log_softmax(-1)
    expected_1T = before_1TV.gather(-1, ids_1T[:, 1:, None])[..., 0]
    apart = (found_1T[:, -known:] - expected_1T).abs().mean().item()
    if apart > HEAD / min(temperature, 1.0):
        raise EngineError(
            f"this TRL scores the tokens of {name} otherwise than its logits do, by {apart:.2g} in "
            "the mean: it would train another model than the one that generates"
        )


def pixels(encoding: Encoding) -> int:
    """Values of all pixels of the images of a prompt."""
    values = encoding.fields.get("pixel_values")
    return 0 if values is None else values.numel()
