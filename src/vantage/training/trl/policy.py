"""Log-probs and entropies of responses under prompts, by one model.

A key is (prompt, rollout): the response of that rollout, conditioned on that prompt. `Policy` turns
keys into forwards: rows of one prompt and one response, or packs that hold a prompt once, whichever
is cheaper and exact. It knows tokens and a model, and neither rewards nor a trainer.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from trl.trainer.utils import pad

from vantage.training.dealing import PADDING
from vantage.training.trl.encoding import Encoding, merge_fields, per_token
from vantage.training.trl.features import ImageFeatures
from vantage.training.trl.forwards import Difference, Packing, without_autocast
from vantage.training.trl.packing import IGNORED, batches, gathered
from vantage.training.trl.responses import Responses

Key = tuple[int, int]
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


class Scores(NamedTuple):
    """What a forward of R keys tells of their tokens.

    Attributes:
        log_probs_RT: of the response tokens, 0 behind the end of a response.
        entropies_RT: of the distributions that they were drawn from; None if not asked for.
        balance: loss that balances the experts of the model; None if not asked for.
    """

    log_probs_RT: torch.Tensor
    entropies_RT: torch.Tensor | None = None
    balance: torch.Tensor | None = None


@dataclass(frozen=True)
class Limits:
    """What the forwards of a rollout batch must keep to.

    Attributes:
        budget: tokens of a forward, padding included.
        padding: key of rows that only fill a forward.
        pictured: whether every forward must have a picture; then the padding has one.
    """

    budget: int
    padding: Key
    pictured: bool = False


class Policy:
    """Scores keys under a model that has TRL's fused head (`add_fused_lm_head`).

    Args:
        encoding: prompt id -> the prompt as the model takes it.
        accelerator: runs the forwards; by default one for this process alone.
        rows: a forward has at most as many tokens as so many of the longest rows.
        packing: "auto" packs where it is exact, "on" refuses what is not, "off" never packs.
        pad_id: token of the padding.
        multiple: rows are padded to a multiple of so many prompt tokens.
        balances: whether a loss that balances experts is wanted, which is taken over whole rows.
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
                "the loss that balances experts is taken over whole rows (router_aux_loss_coef=0 "
                "leaves it out)"
            )

    def clear(self) -> None:
        """Forget the prompts and images of the last rollout batch."""
        self.packing.clear()
        self._features.clear()

    def budget(self, prompts: Iterable[int], responses: Responses) -> int:
        """Tokens of a forward over these prompts and responses."""
        longest = max(len(self.encoding(prompt).ids) for prompt in prompts)
        return self.rows * (longest + responses.width)

    # ---- scores ----------------------------------------------------------------------

    def log_probs(
        self, model: Any, responses: Responses, keys: Sequence[Key], limits: Limits
    ) -> torch.Tensor:
        """Log-probs of R keys, [R, T], without gradients; all processes call it together."""
        parts = self.cut_even([self.cut(responses, keys, limits)])[0]
        scored_RT = responses.tokens_NT.new_zeros(len(keys), responses.width).float()
        for part in parts:
            some = [limits.padding if row == PADDING else keys[row] for row in part]
            part_RT = self._without_gradient(self.forward, model, responses, some, limits)
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
    ) -> Scores:
        """One forward over R keys, with gradients.

        Args:
            model: the model, as the accelerator prepared it.
            tokens_RT, seen_RT: response of each, and which of its tokens are no padding.
            keys: (prompt, rollout) of each row.
            budget: tokens of a pack with several responses.
            entropy: whether entropies are wanted.
        """
        if self.packing.works:
            return self.packs(model, tokens_RT, seen_RT, keys, budget, entropy=entropy)
        encodings = [self.encoding(prompt) for prompt, _ in keys]
        return self.whole_rows(model, encodings, tokens_RT, seen_RT, entropy=entropy)

    def whole_rows(
        self,
        model: Any,
        encodings: Sequence[Encoding],
        tokens_RT: torch.Tensor,
        seen_RT: torch.Tensor,
        *,
        entropy: bool = False,
    ) -> Scores:
        """One forward, each row a prompt and a response."""
        width, ids = tokens_RT.shape[1], [torch.tensor(row.ids) for row in encodings]
        before_RT = self._left_padded(ids, self.pad_id)
        there_RT = self._left_padded([torch.ones_like(row) for row in ids], 0)
        input_ids = torch.cat([before_RT.to(tokens_RT), tokens_RT], dim=1)
        mask = torch.cat([there_RT.to(seen_RT), seen_RT], dim=1)
        labels = input_ids.masked_fill(mask == 0, IGNORED)
        labels[:, :-width] = IGNORED
        options = {"output_router_logits": True} if self.balances else {}
        types = self._types(encodings, input_ids.shape[1], width)
        with self.accelerator.autocast(), self._images_once(model, encodings):
            found = model(
                input_ids=input_ids,
                attention_mask=mask,
                labels=labels,
                fused_lm_head=True,
                **self._pixels(encodings),
                **types,
                **options,
            )
        return Scores(
            found.log_probs[:, -width:],
            found.entropy[:, -width:] if entropy else None,
            found.aux_loss if self.balances else None,
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
        """One forward, responses behind one copy of their prompt."""
        lengths = seen_RT.sum(dim=1).tolist()
        tokens = dict(zip((rollout for _, rollout in keys), tokens_RT.cpu(), strict=True))
        made = self.packing.packs(keys, lengths, self.encoding, budget)
        packed, inputs = self.packing.inputs(
            self.accelerator.unwrap_model(model), made, self.encoding, tokens.__getitem__
        )
        device = self.accelerator.device
        placed = {k: v.to(device) if torch.is_tensor(v) else v for k, v in inputs.items()}
        encodings = [self.encoding(pack.prompt) for pack in made]
        with self.accelerator.autocast(), self._images_once(model, encodings):
            found = model(**placed, **self._pixels(encodings), fused_lm_head=True)

        def by_row(value_BT: torch.Tensor) -> torch.Tensor:
            return gathered(value_BT, packed, keys, lengths, tokens_RT.shape[1])

        return Scores(by_row(found.log_probs), by_row(found.entropy) if entropy else None)

    def _without_gradient(
        self, score: Callable[..., Scores], model: Any, responses: Responses, keys, limits: Limits
    ) -> torch.Tensor:
        """Log-probs of keys in one forward."""
        rollouts = [rollout for _, rollout in keys]
        tokens_RT, seen_RT = responses.tokens_NT[rollouts], responses.seen_NT[rollouts]
        with torch.no_grad():
            return score(model, tokens_RT, seen_RT, keys, limits.budget).log_probs_RT

    # ---- how the work is cut ---------------------------------------------------------

    def cut(
        self,
        responses: Responses,
        keys: Sequence[Key],
        limits: Limits,
        padding_R: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Rows in forwards, by their number in `keys`, those of a pack together.

        Args:
            responses: of the rollout batch.
            keys: of each row.
            limits: what the forwards keep to.
            padding_R: rows whose response counts for nothing.

        Returns:
            Numbers of rows for each forward; PADDING stands for a row with a picture where a
            forward would have none and must have one.
        """
        if self.balances:  # neighbours, which belong to one question, are apart
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
        parts = batches([pack.tokens for pack in made], limits.budget)
        forward_of = {
            (made[number].prompt, segment.rollout): place
            for place, part in enumerate(parts)
            for number in part
            for segment in made[number].segments
        }
        place_R = np.array([forward_of[key] for key in keys])
        return [np.flatnonzero(place_R == place) for place in range(len(parts))]

    def _with_picture(self, part: np.ndarray, keys, limits: Limits) -> np.ndarray:
        """Rows of a forward, with one that has a picture where every forward must have one."""
        if not limits.pictured or self._shows(keys[row] for row in part):
            return part
        return np.append(part, PADDING)

    def _shows(self, keys) -> bool:
        """Whether the prompt of any key has a picture."""
        return any(self.encoding(prompt).images for prompt, _ in keys)

    def cut_even(self, parts_U: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        """As many forwards on every process: empty ones where another process has more.

        Args:
            parts_U: forwards of this process, for each of U pieces of work.
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
        """Compare the log-probs of one real group in packs and in rows, once in a run.

        All processes call it together. Packs are used from now on where the log-probs agree.

        Args:
            model: the model.
            responses: of the rollout batch.
            keys: that this process trains; those of the first update first.
            limits: of the forwards.

        Raises:
            EngineError: packing is "on" and not exact here.
        """
        if self.packing.works is not None:
            return
        bare = self.accelerator.unwrap_model(model)
        self.packing.prepare(bare, [self.encoding(p) for p in {prompt for prompt, _ in keys}])
        refused = torch.tensor([self.packing.works is False], device=self.accelerator.device)
        if self.accelerator.gather(refused).any():
            self.packing.give_up("another process cannot pack")
            return
        busiest = Counter(prompt for prompt, _ in keys).most_common(1)[0][0]
        mine = sorted(dict.fromkeys(keys), key=lambda key: key[0] != busiest)[:4]
        apart = [mine[number % len(mine)] for number in range(4)]  # as many on every process
        exact = self._is_exact(model)
        with without_autocast(self.accelerator, bare) if exact else contextlib.nullcontext():
            row_RT = self._compared(self._in_rows, model, responses, mine, limits)
            alone = [self._compared(self._in_rows, model, responses, [k], limits) for k in apart]
            packed_RT = self._compared(self.packs, model, responses, mine, limits)
        alone_RT = torch.cat(alone)[: len(mine)]
        self._features.clear()  # their precision is that of this comparison
        counted_RT = responses.mask_NT[[rollout for _, rollout in mine]].bool()
        found = self._difference(row_RT, packed_RT, alone_RT, counted_RT)
        self.packing.judge(found, bare.dtype if exact else self.computes_in(model))

    def _in_rows(self, model, tokens_RT, seen_RT, keys, budget: int) -> Scores:
        encodings = [self.encoding(prompt) for prompt, _ in keys]
        return self.whole_rows(model, encodings, tokens_RT, seen_RT)

    def _compared(
        self, score: Callable[..., Scores], model: Any, responses: Responses, keys, limits: Limits
    ) -> torch.Tensor:
        """Log-probs of a few keys in one forward, which has a picture where it must."""
        lacks = limits.pictured and not self._shows(keys)
        seen = [*keys, limits.padding] if lacks else list(keys)
        return self._without_gradient(score, model, responses, seen, limits)[: len(keys)]

    def _difference(self, row_RT, packed_RT, alone_RT, counted_RT) -> Difference:
        """Over all tokens and processes: packs against rows, and rows alone against together."""
        apart_T, noise_T = (
            (other - row_RT).abs().float()[counted_RT] for other in (packed_RT, alone_RT)
        )
        largest = apart_T.max() if len(apart_T) else apart_T.sum()
        means = [values.sum() / max(len(values), 1) for values in (apart_T, noise_T)]
        found = torch.stack([largest, *means])
        return Difference(*self.accelerator.gather(found[None]).amax(dim=0).tolist())

    def _is_exact(self, model: Any) -> bool:
        """Whether forwards can compute in the 32 bits of the weights, without mixed precision."""
        return not self._is_sharded and all(p.dtype == torch.float32 for p in model.parameters())

    def computes_in(self, model: Any) -> torch.dtype:
        """Precision of the forwards."""
        mixed = {"bf16": torch.bfloat16, "fp16": torch.float16}
        own = self.accelerator.unwrap_model(model).dtype
        return mixed.get(str(self.accelerator.mixed_precision), own)

    # ---- what the model takes --------------------------------------------------------

    @property
    def _is_sharded(self) -> bool:
        """Whether FSDP or DeepSpeed runs the model, which cast and gather weights themselves."""
        return self.accelerator.distributed_type in SHARDED

    def _images_once(self, model: Any, encodings: Sequence[Encoding]):
        """Within it, images whose features cannot change are encoded once a rollout batch."""
        if self._is_sharded:  # all processes must encode together
            return contextlib.nullcontext()
        images = [(row.pictures, row) for row in encodings if row.pictures]
        return self._features.reused(self.accelerator.unwrap_model(model), images)

    def _left_padded(self, rows: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad(rows, value, "left", pad_to_multiple_of=self.multiple)

    def _pixels(self, encodings: Sequence[Encoding]) -> dict[str, Any]:
        """What the processor made of the images of some rows."""
        device = self.accelerator.device
        return {
            name: value.to(device) if torch.is_tensor(value) else value
            for name, value in merge_fields(list(encodings)).items()
            if not per_token(name)
        }

    def _types(self, encodings: Sequence[Encoding], length: int, width: int) -> dict[str, Any]:
        """Token types of whole rows, 0 for padding and responses."""
        fields = {}
        for name, types in merge_fields(list(encodings)).items():
            if per_token(name):
                wide = torch.zeros(len(encodings), length, dtype=torch.long)
                for row, values in zip(wide, types, strict=True):
                    row[length - width - len(values) : length - width] = torch.tensor(values)
                fields[name] = wide.to(self.accelerator.device)
        return fields
