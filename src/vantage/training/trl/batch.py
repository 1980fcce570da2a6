"""A rollout batch on TRL: scored rollouts, their plan, and the micro-batches of its updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vantage.errors import InputError
from vantage.methods.rollouts import Samples
from vantage.training.dealing import PADDING, Update, share_of
from vantage.training.mismatch import Mismatch, mismatch
from vantage.training.planning import Outcomes, Plan
from vantage.training.trl.config import TOKEN_MEANS, VantageConfig
from vantage.training.trl.policy import Key, Limits
from vantage.training.trl.responses import Responses

# TRL's names of log-probs of the sampler and the policy, and of the ratios that correct for both.
SAMPLED = "sampling_per_token_logps"
OLD = "old_per_token_logps"
RATIO = "importance_sampling_ratio"


@dataclass(frozen=True)
class Scored(Outcomes):
    """Scored rollouts of all processes.

    Attributes:
        asked_N: Id of the prompt that generated each rollout, shape (N,). It differs from
            `prompt_N` if a rollout function encoded the prompt in its own way.
        responses: Tokens of the responses, on the device.
    """

    asked_N: np.ndarray
    responses: Responses

    def _join(self, name: str, mine: Any, others: Any) -> Any:
        return mine + others if name == "responses" else super()._join(name, mine, others)

    def keys(self, samples: Samples, recipe: str) -> list[Key]:
        """The (prompt, rollout) key of each of M samples, by the encoding of its prompt.

        Raises:
            InputError: A rollout function encoded a prompt with shared responses in several ways.
        """
        away_M = samples.prompt_M != self.prompt_N[samples.rollout_M]
        for prompt in np.unique(samples.prompt_M[away_M]):
            ways = len(np.unique(self.asked_N[self.prompt_N == prompt]))
            if ways > 1:
                raise InputError(
                    f"rollout_func returned {ways} different prompt_ids for the rollouts of one "
                    f"prompt, but recipe {recipe!r} also trains on responses to other prompts of "
                    "the question under it: return the same prompt_ids, or choose a recipe without "
                    "sharing, such as 'grpo'"
                )
        asked = dict(zip(self.prompt_N.tolist(), self.asked_N.tolist(), strict=True))
        columns = (samples.prompt_M.tolist(), samples.rollout_M.tolist(), away_M.tolist())
        return [
            (asked[prompt] if away else int(self.asked_N[rollout]), rollout)
            for prompt, rollout, away in zip(*columns, strict=True)
        ]


@dataclass(frozen=True)
class RolloutBatch:
    """A rollout batch and its optimizer updates.

    Attributes:
        scored: Rollouts of all processes, on the device.
        plan: Plan made from them.
        args: Options of the run.
        updates: Rows of each update and process; advantage_M: advantages times loss weights.
        keys: (prompt, rollout) key of each row of the plan; the last one is that of PADDING.
        limits: Limits of the forwards.
        forwards_U: Rows of this process in each forward of each update. All processes have the
            same number of forwards.
        row_of: Key of this process -> row of `old_RT` and `reference_RT`.
        old_RT, reference_RT: Log-probs before the updates, shape (R, T); None if not needed.
        own_NT: Log-probs of all processes before the updates, under the prompts that generated the
            rollouts, 0 for those that are not trained, shape (N, T); None if not needed.
        ratio_NT: Ratios that correct for the sampler, shape (N, T) or (N, 1); None for none.
    """

    scored: Scored
    plan: Plan
    args: VantageConfig
    updates: list[Update]
    advantage_M: np.ndarray
    keys: list[Key]
    limits: Limits
    forwards_U: list[list[np.ndarray]] = field(default_factory=list)
    row_of: dict[Key, int] = field(default_factory=dict)
    old_RT: torch.Tensor | None = None
    reference_RT: torch.Tensor | None = None
    own_NT: torch.Tensor | None = None
    ratio_NT: torch.Tensor | None = None

    @property
    def samples(self) -> Samples:
        """Samples of the plan, with rows that index `scored`."""
        return self.plan.samples

    @property
    def responses(self) -> Responses:
        """Tokens of the responses."""
        return self.scored.responses

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.responses.tokens_NT.device

    @property
    def length_N(self) -> np.ndarray:
        """Number of response tokens that count, per rollout, shape (N,)."""
        return self.responses.counted()

    @property
    def own_keys(self) -> list[Key]:
        """Key of each rollout under the prompt that generated it."""
        asked_N = self.scored.asked_N.tolist()
        return [(prompt, rollout) for rollout, prompt in enumerate(asked_N)]

    def is_own(self, key: Key) -> bool:
        """Whether the prompt of the key generated its rollout."""
        prompt, rollout = key
        return prompt == self.scored.asked_N[rollout]

    def distinct_keys(self, process: int) -> list[Key]:
        """Keys that a process trains on, without repeats."""
        return list(dict.fromkeys(trained_keys(self.keys, self.updates, process)))

    def own_log_probs(self) -> torch.Tensor:
        """Mean log-prob of each rollout under its own prompt before the updates, shape (N,).

        NaN if this process did not compute it, or no token counts.
        """
        mask_NT = self.responses.mask_NT
        mean_N = mask_NT.new_full((len(mask_NT),), torch.nan, dtype=torch.float32)
        own = [key for key in self.row_of if self.is_own(key)]
        if self.old_RT is not None and own:
            rows, rollouts = [self.row_of[key] for key in own], [rollout for _, rollout in own]
            mask_RT = mask_NT[rollouts]
            total_R = (self.old_RT[rows] * mask_RT).sum(dim=1)
            mean_N[rollouts] = (total_R / mask_RT.sum(dim=1)).float()
        return mean_N

    def mismatch(
        self, process: int, score: Callable[[list[Key]], torch.Tensor] | None, rows: int
    ) -> Mismatch:
        """Compare sampler and policy on responses under the prompts that generated them.

        Args:
            process: Rank of this process.
            score: Keys -> log-probs, to score a few rows if there are no old log-probs; None to
                score none.
            rows: Number of rows to score.
        """
        scored = ~np.isnan(self.scored.reward_N)
        keys = self.row_of or self.distinct_keys(process)
        own = [key for key in keys if self.is_own(key) and scored[key[1]]]
        if self.old_RT is not None:
            old_RT = self.old_RT[[self.row_of[key] for key in own]]
        elif score is not None:
            own = own[:rows]
            old_RT = score(own)
        else:
            return mismatch(np.zeros(0), np.zeros(0))
        rollouts = [rollout for _, rollout in own]
        assert self.responses.sampling_NT is not None
        sampling_RT = self.responses.sampling_NT[rollouts]
        counted_RT = self.responses.mask_NT[rollouts].bool()
        known_RT = counted_RT & ~sampling_RT.isnan()
        if known_RT.sum() > counted_RT.sum() / 2:  # vLLM omits a few log-probs
            counted_RT = known_RT
        old_T, sampling_T = (t[counted_RT].double().cpu().numpy() for t in (old_RT, sampling_RT))
        return mismatch(old_T, sampling_T)

    def forwards(self, number: int, part: int, parts: int) -> Iterator[tuple[np.ndarray, bool]]:
        """Yield (rows, whether it is the update's last forward) of accumulation step `part`."""
        whole = self.forwards_U[number]
        mine = whole[share_of(len(whole), part, parts)]
        for count, rows in enumerate(mine, start=1):
            yield rows, count == len(mine) and part == parts - 1

    def micro_batch(self, number: int, rows: np.ndarray) -> dict[str, Any]:
        """Build TRL's inputs for one forward. The tokens of padding rows are all masked.

        Args:
            number: Number of the update.
            rows: Rows of the plan, or PADDING.
        """
        keys = [self.keys[row] for row in rows]
        rollouts, responses = [rollout for _, rollout in keys], self.responses
        padding_B = torch.from_numpy(rows == PADDING).to(self.device)
        advantage_B = np.append(self.advantage_M, 0.0)[rows]  # PADDING is the last
        mask_BT = responses.mask_NT[rollouts].masked_fill(padding_B[:, None], 0)
        nothing = responses.tokens_NT.new_zeros(len(rows), 0)
        return {
            "keys": keys,
            # The policy looks prompts up by key, so TRL only passes empty ones on.
            "prompt_ids": nothing,
            "prompt_mask": nothing,
            "completion_ids": responses.tokens_NT[rollouts],
            "completion_mask": responses.seen_NT[rollouts].masked_fill(padding_B[:, None], 0),
            "tool_mask": mask_BT,
            "advantages": torch.tensor(advantage_B, dtype=torch.float32).to(self.device),
            "budget": self.limits.budget,
            "balances": not padding_B.all(),
            **self._normalizers(number, mask_BT),
            **self._ahead(keys),
        }

    def _normalizers(self, number: int, mask_BT: torch.Tensor) -> dict[str, Any]:
        """Factors that turn TRL's means into means over the mini-batch, however it is split.

        TRL divides token sums by `num_items_in_batch` of the whole rollout batch, and row sums by
        the rows of a forward and the number of forwards.
        """
        update, forwards = self.updates[number], len(self.forwards_U[number])
        kind, processes = self.args.loss_type, len(update.row_PR)
        items = update.tokens * self.args.steps_per_generation / forwards
        scale = 1 / min(items, 1.0) if items else 1.0  # TRL divides by at least one item
        if kind == "bnpo":
            scale = mask_BT.sum().item() * forwards * processes / max(update.tokens, 1)
        elif kind not in TOKEN_MEANS:
            scale = len(mask_BT) * forwards * processes / max(update.rows, 1)
        items_tensor = torch.tensor(float(items), device=mask_BT.device)
        return {"num_items_in_batch": items_tensor, "loss_scale": scale}

    def _ahead(self, keys: list[Key]) -> dict[str, torch.Tensor]:
        """Old, reference and sampler's log-probs of a forward, computed before the updates."""
        ahead = {}
        rows = [self.row_of.get(key, 0) for key in keys]
        rollouts = [rollout for _, rollout in keys]
        if self.old_RT is not None:
            ahead[OLD] = self.old_RT[rows]
        if self.reference_RT is not None:
            ahead["ref_per_token_logps"] = self.reference_RT[rows]
        # The importance ratio corrects for how a response was sampled. So it belongs to the prompt
        # that generated the response, whatever prompt it is trained under.
        if self.ratio_NT is not None:
            ahead[RATIO] = self.ratio_NT[rollouts]
        if self.responses.sampling_NT is not None and self.old_RT is not None:
            own_B1 = torch.tensor([self.is_own(key) for key in keys], device=self.device)[:, None]
            sampling = self.responses.sampling_NT[rollouts]
            # The sampler has no log-probs under other prompts. Apply its offset from the trainer
            # under its own prompt to the old log-probs.
            apart = 0.0 if self.own_NT is None else sampling - self.own_NT[rollouts]
            ahead[SAMPLED] = torch.where(own_B1, sampling, ahead[OLD] + apart)
        return ahead


def trained_keys(keys: Sequence[Key], updates: list[Update], process: int) -> list[Key]:
    """Keys that a process trains, in order of its updates, without padding; at least one.

    Args:
        keys: Key of each row of the plan, and of PADDING.
        updates: Rows of each update and process.
        process: Rank of the process.
    """
    rows = np.concatenate([update.row_PR[process] for update in updates])
    trained = rows[rows != PADDING]
    return [keys[row] for row in (trained if len(trained) else rows[:1])]
