"""Decides whether packed forwards are exact, and checks TRL's fused head against the logits."""

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
from vantage.scoped import evaluating, scoped
from vantage.training.trl import packing, prefix
from vantage.training.trl.encoding import Encoding
from vantage.training.trl.packing import Pack

logger = logging.getLogger(__name__)

HEAD = 0.05  # maximum mean difference of log-probs between TRL's fused head and the logits
# Packing is exact if its log-probs differ from those of rows by at most this multiple of the
# noise, which is the difference between rows computed one by one and as a batch.
NOISE = 2.0


class Rounding(NamedTuple):
    """Mean differences due to rounding: an allowance on top of the noise, and an upper bound."""

    least: float
    most: float


# By the precision of the forward. An off-by-one in positions gives at least 3e-4, in models that
# barely depend on positions; 16-bit precision hides that.
ROUNDINGS = {torch.float64: Rounding(1e-9, 1e-6), torch.float32: Rounding(1e-5, 1e-4)}
COARSE = Rounding(2e-3, 0.05)


class Difference(NamedTuple):
    """Difference of log-probs between packs and rows.

    Attributes:
        largest: Maximum over all tokens; mean: mean over all tokens.
        noise: Mean difference between rows computed as a batch and one by one.
    """

    largest: float
    mean: float
    noise: float


@contextlib.contextmanager
def without_autocast(accelerator: Accelerator, model: PreTrainedModel) -> Iterator[None]:
    """Within the context, forwards compute in the precision of the weights.

    Args:
        accelerator: Accelerator that prepared the model.
        model: The bare model.
    """
    products = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # no TF32
    exact = model.__dict__.get("_original_forward", model.forward)
    try:
        with scoped(model, forward=exact), scoped(accelerator, native_amp=False):
            yield
    finally:
        torch.set_float32_matmul_precision(products)


class Packing:
    """Decides whether to pack rows, and builds the model inputs of packs.

    Attributes:
        mode: "auto" packs if this is exact, "on" raises an error if it is not, "off" never packs.
        works: Whether packs are used; None until the first rollout batch decides.
    """

    def __init__(self, mode: str):
        self.mode = mode
        self.works: bool | None = False if mode == "off" else None
        self._positions: dict[int, torch.Tensor] = {}

    def clear(self) -> None:
        """Clear the cached positions of the last rollout batch."""
        self._positions.clear()

    def prepare(self, model: PreTrainedModel) -> None:
        """Check for properties of the model that rule out exact packing."""
        why = prefix.obstacle(model)
        if why is not None:
            self.give_up(why)

    def judge(self, found: Difference, dtype: torch.dtype) -> None:
        """Decide on packing by the difference between packed log-probs and those of rows.

        Args:
            found: Difference over the tokens of one group and all processes.
            dtype: Precision of the forwards.
        """
        rounding = ROUNDINGS.get(dtype, COARSE)
        if found.mean <= min(NOISE * found.noise + rounding.least, rounding.most):
            self.works = True
            logger.info(f"packing: log-probs are within {found.largest:.1e} of those row by row")
            return
        self.give_up(
            f"log-probs differ by up to {found.largest:.1e} ({found.mean:.1e} in the mean; rows "
            f"alone and together by {found.noise:.1e})"
        )

    def give_up(self, why: str) -> None:
        """Turn packing off, and log the reason once.

        Raises:
            EngineError: The mode is "on".
        """
        if self.mode == "on":
            raise EngineError(f"packing='on', but it is not exact here: {why}; set it to 'auto'")
        if self.works is not False:
            logger.warning(f"packing is off, each row has its own copy of the prompt: {why}")
        self.works = False

    def packs(
        self,
        keys: Sequence[tuple[int, int]],
        lengths: Sequence[int],
        encoding: Callable[[int], Encoding],
        budget: int,
    ) -> list[Pack]:
        """Group (prompt, rollout) rows into packs of at most `budget` tokens where possible."""
        prefixes = {prompt: len(encoding(prompt).ids) - 1 for prompt, _ in keys}
        return packing.packs(keys, lengths, prefixes, budget)

    def inputs(
        self,
        model: PreTrainedModel,
        made: list[Pack],
        encoding: Callable[[int], Encoding],
        response: Callable[[int], torch.Tensor],
    ) -> tuple[packing.Packed, dict[str, Any]]:
        """Lay packs out as tensors, and build the model's inputs without pixel values."""
        packed = packing.lay_out(
            made, encoding, lambda prompt: self._placed(model, prompt, encoding), response
        )
        return packed, {
            "input_ids": packed.input_ids_1T,
            "attention_mask": torch.ones_like(packed.input_ids_1T),
            "position_ids": packed.position_ids,
            "labels": None,
            "shift_labels": packed.labels_1T,
            **packed.types,
        }

    def _placed(self, model: PreTrainedModel, prompt: int, encoding: Callable) -> torch.Tensor:
        if prompt not in self._positions:
            self._positions[prompt] = prefix.positions(model, encoding(prompt))
        return self._positions[prompt]


@torch.no_grad()
def check_head(model: nn.Module, tokenizer: Any, temperature: float) -> None:
    """Check that the log-probs of TRL's fused head match the model's logits.

    TRL computes log-probs from hidden states without calling the model's head, which is wrong for
    models that do more than a linear layer there.

    Raises:
        EngineError: They do not match, or the model is not supported.
    """
    name = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
    ids_1T = tokenizer("1 + 1 = 2", return_tensors="pt")["input_ids"].to(model.device)
    inputs = {"input_ids": ids_1T, "attention_mask": torch.ones_like(ids_1T)}
    try:
        with evaluating(model):
            found_1T = model(**inputs, labels=ids_1T, fused_lm_head=True).log_probs
            logits_1TV = model(**inputs).logits.float() / temperature
    except (AttributeError, TypeError) as error:
        raise EngineError(f"this TRL cannot score the tokens of {name}: {error}") from error
    known = ids_1T.shape[1] - 1  # prompt-learning adapters prepend virtual tokens
    before_1TV = logits_1TV[:, -known - 1 : -1].log_softmax(-1)
    expected_1T = before_1TV.gather(-1, ids_1T[:, 1:, None])[..., 0]
    apart = (found_1T[:, -known:] - expected_1T).abs().mean().item()
    if apart > HEAD / min(temperature, 1.0):
        raise EngineError(
            f"the log-probs of TRL's fused head differ from those of the logits of {name} by "
            f"{apart:.2g} on average: the model that is trained would not be the one that generates"
        )
