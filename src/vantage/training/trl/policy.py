"""Computes log-probs and entropies of responses under prompts.

A key (prompt, rollout) stands for the response of that rollout conditioned on that prompt. `Policy`
scores keys in forward passes over rows, or over packs if these are exact. It does not depend on
rewards or a trainer.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from trl.trainer.utils import pad

from vantage.training.dealing import PADDING
from vantage.training.trl import attention
from vantage.training.trl.encoding import Encoding, merge_fields, per_token
from vantage.training.trl.exactness import Difference, Packing, without_autocast
from vantage.training.trl.features import ImageFeatures
from vantage.training.trl.packing import IGNORED, batches, gathered
from vantage.training.trl.responses import Responses

Key = tuple[int, int]
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


class Scores(NamedTuple):
    """Result of a forward over R keys.

    Attributes:
        log_probs_RT: Log-probs of the response tokens, 0 for padding, shape (R, T).
        entropies_RT: Entropies of the predicted distributions; None if not requested.
        balance: Load-balancing loss of the experts; None if not requested.
    """

    log_probs_RT: torch.Tensor
    entropies_RT: torch.Tensor | None = None
    balance: torch.Tensor | None = None


@dataclass(frozen=True)
class Limits:
    """Constraints on the forwards of a rollout batch.

    Attributes:
        budget: Maximum number of tokens of a forward, including padding.
        padding: Key of padding rows.
        pictured: Whether every forward needs an image; then the padding has one.
    """

    budget: int
    padding: Key
    pictured: bool = False


class Policy:
    """Scores keys under a model with TRL's fused head (`add_fused_lm_head`).

    Args:
        encoding: Prompt id -> its encoding.
        accelerator: Runs the forwards; by default one for this process alone.
        rows: A forward has at most as many tokens as this number of the longest rows.
        packing: "auto" packs if this is exact, "on" raises an error if it is not, "off" never
            packs.
        pad_id: Id of the padding token.
        multiple: Prompts are padded to a multiple of this number of tokens.
        balances: Whether updates have a load-balancing loss of experts, which needs whole rows.
    """

    def __init__(
        self,
        encoding: Callable[[int], Encoding],
        accelerator: Accelerator | None = None,
        *,
        rows: int = 8,
        packing: str = "auto",
        pad_id: int = 0,
        multiple: int | None = None,
        balances: bool = False,
    ):
        self.encoding, self.accelerator = encoding, accelerator or Accelerator()
        self.rows, self.pad_id, self.multiple, self.balances = rows, pad_id, multiple, balances
        self.packing = Packing(packing)
        self._features = ImageFeatures()
        if balances:
            self.packing.give_up(
                "the load-balancing loss of experts needs whole rows (router_aux_loss_coef=0 "
                "disables it)"
            )

    def clear(self) -> None:
        """Clear the caches of the last rollout batch."""
        self.packing.clear()
        self._features.clear()

    def budget(self, prompts: Iterable[int], responses: Responses) -> int:
        """Maximum number of tokens of a forward over these prompts and responses."""
        longest = max(len(self.encoding(prompt).ids) for prompt in prompts)
        return self.rows * (longest + responses.width)

    # ---- scores ----------------------------------------------------------------------

    def log_probs(
        self, model: Any, responses: Responses, keys: Sequence[Key], limits: Limits
    ) -> torch.Tensor:
        """Compute log-probs of R keys without gradients; all processes must call it together.

        Returns:
            Log-probs, shape (R, T).
        """
        parts = self.cut_even([self.cut(responses, keys, limits)])[0]
        scored_RT = responses.tokens_NT.new_zeros(len(keys), responses.width).float()
        for part in parts:
            some = [limits.padding if row == PADDING else keys[row] for row in part]
            part_RT = self._scored(self.forward, model, responses, some, limits)
            real = part != PADDING
            scored_RT[part[real]] = part_RT[real].float()
        return scored_RT

    def forward(
        self,
        model: Any,
        tokens_RT: torch.Tensor,
        seen_RT: torch.Tensor,
        keys: Sequence[Key],
        budget: int,
        *,
        entropy: bool = False,
        balance: bool = False,
    ) -> Scores:
        """Run one forward over R keys, with gradients.

        Args:
            model: The model as prepared by the accelerator.
            tokens_RT, seen_RT: Response tokens and their padding mask, shape (R, T).
            keys: (prompt, rollout) of each row.
            budget: Maximum number of tokens of a pack with several responses.
            entropy: Whether to compute entropies.
            balance: Whether to compute the load-balancing loss of experts.
        """
        if self.packing.works:
            return self.packs(model, tokens_RT, seen_RT, keys, budget, entropy=entropy)
        more = {"entropy": entropy, "balance": balance}
        return self._in_rows(model, tokens_RT, seen_RT, keys, budget, **more)

    def whole_rows(
        self,
        model: Any,
        encodings: Sequence[Encoding],
        tokens_RT: torch.Tensor,
        seen_RT: torch.Tensor,
        *,
        entropy: bool = False,
        balance: bool = False,
    ) -> Scores:
        """Run one forward in which each row is a prompt and a response."""
        width, ids = tokens_RT.shape[1], [torch.tensor(row.ids) for row in encodings]
        before: dict[str, Any] = {"padding_side": "left", "pad_to_multiple_of": self.multiple}
        before_RT = pad(ids, self.pad_id, **before)
        there_RT = pad([torch.ones_like(row) for row in ids], 0, **before)
        input_ids = torch.cat([before_RT.to(tokens_RT), tokens_RT], dim=1)
        mask = torch.cat([there_RT.to(seen_RT), seen_RT], dim=1)
        labels = input_ids.masked_fill(mask == 0, IGNORED)
        labels[:, :-width] = IGNORED
        options = {"output_router_logits": True} if balance else {}
        pixels, types = self._fields(model, encodings)
        types = {name: _placed(rows, input_ids, width) for name, rows in types.items()}
        with self.accelerator.autocast(), self._images_once(model, encodings):
            found = model(
                input_ids=input_ids,
                attention_mask=mask,
                labels=labels,
                fused_lm_head=True,
                **pixels,
                **types,
                **options,
            )
        return Scores(
            found.log_probs[:, -width:],
            found.entropy[:, -width:] if entropy else None,
            found.aux_loss if balance else None,
        )

    def packs(
        self,
        model: Any,
        tokens_RT: torch.Tensor,
        seen_RT: torch.Tensor,
        keys: Sequence[Key],
        budget: int,
        *,
        entropy: bool = False,
    ) -> Scores:
        """Run one forward over packs."""
        lengths = seen_RT.sum(dim=1).tolist()
        tokens = dict(zip((rollout for _, rollout in keys), tokens_RT.cpu(), strict=True))
        made = self.packing.packs(keys, lengths, self.encoding, budget)
        bare = self.accelerator.unwrap_model(model)
        packed, inputs = self.packing.inputs(bare, made, self.encoding, tokens.__getitem__)
        device = self.accelerator.device
        placed = {k: v.to(device) if torch.is_tensor(v) else v for k, v in inputs.items()}
        encodings = [self.encoding(pack.prompt) for pack in made]
        pixels, _ = self._fields(model, encodings)
        text = bare.config.get_text_config()
        with (
            self.accelerator.autocast(),
            self._images_once(model, encodings),
            attention.packed(packed.layout, text),
        ):
            found = model(**placed, **pixels, fused_lm_head=True)

        def by_row(value_1T: torch.Tensor) -> torch.Tensor:
            return gathered(value_1T, packed, keys, lengths, tokens_RT.shape[1])

        return Scores(by_row(found.log_probs), by_row(found.entropy) if entropy else None)

    def _scored(
        self, score: Callable[..., Scores], model: Any, responses: Responses, keys, limits: Limits
    ) -> torch.Tensor:
        """Log-probs of keys in one forward without gradients, padded if it needs an image."""
        lacks = limits.pictured and not self._shows(keys)
        asked = [*keys, limits.padding] if lacks else list(keys)
        rollouts = [rollout for _, rollout in asked]
        tokens_RT, seen_RT = responses.tokens_NT[rollouts], responses.seen_NT[rollouts]
        with torch.no_grad():
            scores = score(model, tokens_RT, seen_RT, asked, limits.budget)
        return scores.log_probs_RT[: len(keys)]

    # ---- how the work is cut ---------------------------------------------------------

    def cut(
        self,
        responses: Responses,
        keys: Sequence[Key],
        limits: Limits,
        padding_R: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Split rows into forwards; the rows of a pack stay together.

        Args:
            responses: Responses of the rollout batch.
            keys: (prompt, rollout) of each row.
            limits: Constraints on the forwards.
            padding_R: Mask of rows whose response does not count.

        Returns:
            Indices into `keys` for each forward. PADDING is appended to a forward without an image
            that needs one.
        """
        if self.balances:  # spread neighbours, which share a question, over the forwards
            apart = -(-len(keys) // self.rows)
            parts = [np.arange(start, len(keys), apart) for start in range(apart)]
        elif self.packing.works:
            parts = self._packs_in_forwards(responses, keys, limits, padding_R)
        else:
            tokens = [len(self.encoding(prompt).ids) + responses.width for prompt, _ in keys]
            parts = [np.array(sorted(part)) for part in batches(tokens, limits.budget)]
        return [self._with_picture(part, keys, limits) for part in parts]

    def _packs_in_forwards(self, responses, keys, limits, padding_R) -> list[np.ndarray]:
        lengths = responses.lengths([rollout for _, rollout in keys])
        if padding_R is not None:
            lengths = [0 if padding else n for padding, n in zip(padding_R, lengths, strict=True)]
        made = self.packing.packs(keys, lengths, self.encoding, limits.budget)
        parts = batches([pack.tokens for pack in made], limits.budget, padded=False)
        forward_of = {
            (made[number].prompt, segment.rollout): place
            for place, part in enumerate(parts)
            for number in part
            for segment in made[number].segments
        }
        place_R = np.array([forward_of[key] for key in keys])
        return [np.flatnonzero(place_R == place) for place in range(len(parts))]

    def _with_picture(self, part: np.ndarray, keys, limits: Limits) -> np.ndarray:
        """Append a padding row with an image if the forward needs an image and has none."""
        if not limits.pictured or self._shows(keys[row] for row in part):
            return part
        return np.append(part, PADDING)

    def _shows(self, keys) -> bool:
        """Whether the prompt of any key has an image."""
        return any(self.encoding(prompt).images for prompt, _ in keys)

    def cut_even(self, parts_U: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        """Pad with padding forwards, so that all processes have the same number of forwards.

        Args:
            parts_U: Forwards of this process for each of U updates.
        """
        mine_U = torch.tensor([len(parts) for parts in parts_U], device=self.accelerator.device)
        most_U = self.accelerator.gather(mine_U[None]).amax(dim=0).tolist()
        empty = np.array([PADDING])
        return [
            parts + [empty] * (most - len(parts))
            for parts, most in zip(parts_U, most_U, strict=True)
        ]

    # ---- whether packs are exact -----------------------------------------------------

    def decide_packing(
        self,
        model: Any,
        responses: Responses,
        keys: Sequence[Key],
        limits: Limits,
    ) -> None:
        """Decide once per run whether packing is exact, on one group of real rollouts.

        Compares the log-probs of packs and of rows. All processes must call it together.

        Args:
            model: The model as prepared by the accelerator.
            responses: Responses of the rollout batch.
            keys: Keys that this process trains on, in order of the updates.
            limits: Constraints on the forwards.

        Raises:
            EngineError: Packing is "on", but it is not exact.
        """
        if self.packing.works is not None:
            return
        bare = self.accelerator.unwrap_model(model)
        self.packing.prepare(bare)
        refused = torch.tensor([self.packing.works is False], device=self.accelerator.device)
        if self.accelerator.gather(refused).any():
            self.packing.give_up("another process cannot pack")
            return
        busiest = Counter(prompt for prompt, _ in keys).most_common(1)[0][0]
        mine = sorted(dict.fromkeys(keys), key=lambda key: key[0] != busiest)[:4]
        apart = [mine[number % len(mine)] for number in range(4)]  # equal count per process
        counted_RT = responses.mask_NT[[rollout for _, rollout in mine]].bool()
        for dtype, context in self._precisions(model):
            with context:
                row_RT = self._scored(self._in_rows, model, responses, mine, limits)
                alone = [self._scored(self._in_rows, model, responses, [k], limits) for k in apart]
                packed_RT = self._scored(self.packs, model, responses, mine, limits)
            self._features.clear()  # those of one precision are not those of another
            alone_RT = torch.cat(alone)[: len(mine)]
            self.packing.judge(self._difference(row_RT, packed_RT, alone_RT, counted_RT), dtype)
            if not self.packing.works:
                return

    def _precisions(self, model: Any) -> Iterator[tuple[torch.dtype, AbstractContextManager]]:
        """Precisions in which packs have to be exact: float32 if possible, and that of training.

        Float32 reveals small errors; in the precision of training, other kernels may compute.
        """
        bare, trained = self.accelerator.unwrap_model(model), self.computes_in(model)
        is_exact = self._is_exact(model)
        if is_exact:
            yield torch.float32, without_autocast(self.accelerator, bare)
        if not is_exact or trained != torch.float32:
            yield trained, contextlib.nullcontext()

    def _in_rows(self, model, tokens_RT, seen_RT, keys, budget: int, **more: bool) -> Scores:
        encodings = [self.encoding(prompt) for prompt, _ in keys]
        return self.whole_rows(model, encodings, tokens_RT, seen_RT, **more)

    def _difference(self, row_RT, packed_RT, alone_RT, counted_RT) -> Difference:
        """Compare packs with rows, and rows alone with rows in a batch, over all processes."""
        apart_T, noise_T = (
            (other - row_RT).abs().float()[counted_RT] for other in (packed_RT, alone_RT)
        )
        largest = apart_T.max() if len(apart_T) else apart_T.sum()
        means = [values.sum() / max(len(values), 1) for values in (apart_T, noise_T)]
        found = torch.stack([largest, *means])
        return Difference(*self.accelerator.gather(found[None]).amax(dim=0).tolist())

    def _is_exact(self, model: Any) -> bool:
        """Whether forwards can run in float32, without mixed precision."""
        return not self._is_sharded and all(p.dtype == torch.float32 for p in model.parameters())

    def computes_in(self, model: Any) -> torch.dtype:
        """Precision of the forwards."""
        mixed = {"bf16": torch.bfloat16, "fp16": torch.float16}
        own = self.accelerator.unwrap_model(model).dtype
        return mixed.get(str(self.accelerator.mixed_precision), own)

    # ---- what the model takes --------------------------------------------------------

    @property
    def _is_sharded(self) -> bool:
        """Whether FSDP or DeepSpeed runs the model; they cast and gather weights themselves."""
        return self.accelerator.distributed_type in SHARDED

    def _images_once(self, model: Any, encodings: Sequence[Encoding]):
        """Within the context, rows with the same images share their features."""
        if self._is_sharded:  # a cache hit on one process would leave the others waiting
            return contextlib.nullcontext()
        return self._features.shared(self.accelerator.unwrap_model(model), _images(encodings))

    def _fields(
        self, model: Any, encodings: Sequence[Encoding]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Pixel values and other image inputs of some rows, and their token types."""
        device, pixels, types = self.accelerator.device, dict[str, Any](), dict[str, Any]()
        bare, rows, images = self.accelerator.unwrap_model(model), [*encodings], _images(encodings)
        if images and not self._is_sharded and self._features.shares(bare, images):
            # Models look whether there are pixel values, so one row stays.
            first = next(number for number, row in enumerate(rows) if row.pictures)
            rows = [row.with_pixels(int(number == first)) for number, row in enumerate(rows)]
        for name, value in merge_fields(rows).items():
            if per_token(name):
                types[name] = value
            else:
                pixels[name] = value.to(device) if torch.is_tensor(value) else value
        return pixels, types


def _placed(types: list[list[int]], input_ids: torch.Tensor, width: int) -> torch.Tensor:
    """Token types of whole rows; 0 for padding and responses of this width."""
    wide, end = torch.zeros(input_ids.shape, dtype=torch.long), input_ids.shape[1] - width
    for row, values in zip(wide, types, strict=True):
        row[end - len(values) : end] = torch.tensor(values)
    return wide.to(input_ids.device)


def _images(encodings: Sequence[Encoding]) -> list[tuple[Hashable, Encoding]]:
    """Key of the images and encoding of each row with images."""
    return [(row.pictures, row) for row in encodings if row.pictures]
