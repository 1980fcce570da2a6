"""Scored rollouts of a batch, the plan made of them, and what its updates need."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vantage.errors import InputError
from vantage.methods.rollouts import Samples
from vantage.training.dealing import PADDING, Update, deal, loss_weights, share_of
from vantage.training.planning import Outcomes, Plan
from vantage.training.trl.config import TOKEN_MEANS, VantageConfig
from vantage.training.trl.policy import Key, Limits
from vantage.training.trl.responses import Responses


@dataclass(frozen=True)
class Scored(Outcomes):
    """Rollouts of all processes with their rewards.

    Attributes:
        asked_N: prompt that generated each, in the tokens that it was asked in.
        responses: their tokens, on the device.
    """

    asked_N: np.ndarray
    responses: Responses

    def _join(self, name: str, mine: Any, others: Any) -> Any:
        return mine + others if name == "responses" else super()._join(name, mine, others)

    def check_written(self, samples: Samples, recipe: str) -> None:
        """Refuse several ways of writing a prompt under which others' responses are trained.

        Raises:
            InputError: a rollout function wrote one prompt in several ways.
        """
        away_M = samples.prompt_M != self.prompt_N[samples.rollout_M]
        for prompt in np.unique(samples.prompt_M[away_M]):
            ways = len(np.unique(self.asked_N[self.prompt_N == prompt]))
            if ways > 1:
                raise InputError(
                    f"rollout_func gave {ways} different prompt_ids for the rollouts of one "
                    f"prompt, but recipe {recipe!r} trains responses to the other "
                    "prompts of a question under it: give the same ones, or take a recipe that "
                    "does not share, such as 'grpo'"
                )


@dataclass(frozen=True)
class RolloutBatch:
    """The rollouts of a batch and the updates made from them.

    Attributes:
        scored: rollouts of all processes, on the device.
        plan: the plan made of them.
        updates: how it is dealt; advantage_M: advantages times loss weights.
        limits: of the forwards.
        loss: what TRL's loss is a mean over.
        forwards_U: rows of this process in each forward of each update; as many forwards on
            every process.
        row_of: row of `old_RT` and `reference_RT` for each key dealt to this process.
        old_RT, reference_RT: log-probs before the updates; None where they are not needed.
    """

    scored: Scored
    plan: Plan
    updates: list[Update]
    advantage_M: np.ndarray
    limits: Limits
    loss: LossOptions
    forwards_U: list[list[np.ndarray]] = field(default_factory=list)
    row_of: dict[Key, int] = field(default_factory=dict)
    old_RT: torch.Tensor | None = None
    reference_RT: torch.Tensor | None = None

    @property
    def samples(self) -> Samples:
        """The samples of the plan, their rows pointing into `scored`."""
        return self.plan.samples

    @property
    def responses(self) -> Responses:
        """Tokens of the responses."""
        return self.scored.responses

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.responses.tokens_NT.device

    def key(self, row: int) -> Key:
        """Key of a row of the plan, or of padding."""
        if row == PADDING:
            return self.limits.padding
        prompt, rollout = int(self.samples.prompt_M[row]), int(self.samples.rollout_M[row])
        if prompt == self.scored.prompt_N[rollout]:
            return int(self.scored.asked_N[rollout]), rollout
        return self._asked_as[prompt], rollout

    @functools.cached_property
    def _asked_as(self) -> dict[int, int]:
        """The one way in which each prompt was asked, see `Scored.check_written`."""
        scored = self.scored
        return dict(zip(scored.prompt_N.tolist(), scored.asked_N.tolist(), strict=True))

    @functools.cached_property
    def length_N(self) -> np.ndarray:
        """Response tokens that count, of each rollout."""
        return self.responses.mask_NT.sum(dim=1).cpu().numpy()

    def is_own(self, key: Key) -> bool:
        """Whether the prompt generated the rollout."""
        prompt, rollout = key
        return prompt == self.scored.asked_N[rollout]

    def keys(self, process: int) -> list[Key]:
        """What a process trains, update by update, padding left out; at least one."""
        rows = np.concatenate([update.row_PR[process] for update in self.updates])
        trained = rows[rows != PADDING]
        return list(map(self.key, trained if len(trained) else rows[:1]))

    def distinct_keys(self, process: int) -> list[Key]:
        """The same, each key once."""
        return list(dict.fromkeys(self.keys(process)))

    def own_log_probs(self) -> torch.Tensor:
        """Mean log-prob of each rollout under the prompt that generated it, before the updates.

        NaN where another process computed it, or none.
        """
        mask_NT = self.responses.mask_NT
        mean_N = mask_NT.new_full((len(self.length_N),), torch.nan, dtype=torch.float32)
        own = [key for key in self.row_of if self.is_own(key)]
        if self.old_RT is not None and own:
            rows, rollouts = [self.row_of[key] for key in own], [rollout for _, rollout in own]
            mask_RT = mask_NT[rollouts]
            total_R = (self.old_RT[rows] * mask_RT).sum(dim=1)
            mean_N[rollouts] = (total_R / mask_RT.sum(dim=1)).float()
        return mean_N

    def forwards(self, number: int, part: int, parts: int) -> Iterator[tuple[np.ndarray, bool]]:
        """Forwards of part `part` of `parts` of an update: rows, and whether it is the last one."""
        whole = self.forwards_U[number]
        mine = whole[share_of(len(whole), part, parts)]
        for count, rows in enumerate(mine, start=1):
            yield rows, count == len(mine) and part == parts - 1

    def micro_batch(self, number: int, rows: np.ndarray) -> dict[str, Any]:
        """TRL's inputs for one forward; padding has no token that counts.

        Args:
            number: of the update.
            rows: of the plan.
        """
        keys = [self.key(row) for row in rows]
        rollouts, responses = [rollout for _, rollout in keys], self.responses
        padding_B = torch.from_numpy(rows == PADDING).to(self.device)
        advantage_B = [0.0 if row == PADDING else self.advantage_M[row] for row in rows]
        mask_BT = responses.mask_NT[rollouts].masked_fill(padding_B[:, None], 0)
        nothing = responses.tokens_NT.new_zeros(len(rows), 0)
        return {
            "keys": keys,
            # The policy knows the prompts; TRL hands on what it gets here.
            "prompt_ids": nothing,
            "prompt_mask": nothing,
            "completion_ids": responses.tokens_NT[rollouts],
            "completion_mask": responses.seen_NT[rollouts].masked_fill(padding_B[:, None], 0),
            "tool_mask": mask_BT,
            "advantages": torch.tensor(advantage_B, dtype=torch.float32).to(self.device),
            "budget": self.limits.budget,
            "balances": not padding_B.all(),
            **self.loss.normalizers(self.updates[number], mask_BT, len(self.forwards_U[number])),
            **self._ahead(keys),
        }

    def _ahead(self, keys: list[Key]) -> dict[str, torch.Tensor]:
        """Log-probs and corrections computed before the updates, for the rows of a forward."""
        ahead = {}
        rows, sampled = [self.row_of.get(key, 0) for key in keys], self.responses.sampled
        if self.old_RT is not None:
            ahead["old_per_token_logps"] = self.old_RT[rows]
        if self.reference_RT is not None:
            ahead["ref_per_token_logps"] = self.reference_RT[rows]
        # A ratio says from where a response was drawn: under the prompt that generated it,
        # whatever prompt it is trained under.
        mine = {name: value[[rollout for _, rollout in keys]] for name, value in sampled.items()}
        if "importance_sampling_ratio" in mine:
            ahead["importance_sampling_ratio"] = mine["importance_sampling_ratio"]
        if "sampling_per_token_logps" in mine and self.old_RT is not None:
            own_B1 = torch.tensor([self.is_own(key) for key in keys], device=self.device)[:, None]
            sampling, old = mine["sampling_per_token_logps"], ahead["old_per_token_logps"]
            apart = sampling - mine.get("old_per_token_logps", sampling)
            ahead["sampling_per_token_logps"] = torch.where(own_B1, sampling, old + apart)
        return ahead


@dataclass(frozen=True)
class LossOptions:
    """What TRL's loss is a mean over.

    Attributes:
        kind: TRL's `loss_type`.
        processes: that train together.
        args: of the run.
    """

    kind: str
    processes: int
    args: VantageConfig

    def normalizers(self, update: Update, mask_BT: torch.Tensor, forwards: int) -> dict[str, Any]:
        """What makes TRL's means those of the whole mini-batch, however it is cut.

        TRL divides token means by `num_items_in_batch` of the rollout batch, and means over
        rows by the rows of a forward and the number of forwards.
        """
        items = update.tokens * self.args.steps_per_generation / forwards
        scale = 1 / min(items, 1.0) if items else 1.0  # TRL divides by one item at least
        if self.kind == "bnpo":
            scale = mask_BT.sum().item() * forwards * self.processes / max(update.tokens, 1)
        elif self.kind not in TOKEN_MEANS:
            scale = len(mask_BT) * forwards * self.processes / max(update.rows, 1)
        items_tensor = torch.tensor(float(items), device=mask_BT.device)
        return {"num_items_in_batch": items_tensor, "loss_scale": scale}

    def dealt(self, plan: Plan, responses: Responses) -> tuple[list[Update], np.ndarray]:
        """The updates of a plan, and advantages times loss weights of its samples."""
        samples = plan.samples
        length_M = responses.mask_NT.sum(dim=1).cpu().numpy()[samples.rollout_M]
        size_M = length_M if self.kind in TOKEN_MEANS else np.ones(len(samples))
        made = deal(samples, length_M, self.args.updates, self.processes)
        return made, samples.advantage_M * loss_weights(samples, size_M, made)
