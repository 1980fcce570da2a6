"""The current rollout batch: its plan, and the rows of the plan in veRL's store.

Rows are written in two steps. To compute log-probs, the store has one row for each distinct
(prompt, rollout) of the plan (`RolloutBatch.rows`). For the updates, rows that are trained more
than once are copied, and all rows are put in the order of processes and updates (`write_updates`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from verl.protocol import DataProto
from verl.utils.debug.metrics import calculate_debug_metrics
from verl.workers.utils.padding import response_to_nested

from vantage.training.inputs import part_names
from vantage.training.mismatch import Mismatch, mismatch
from vantage.training.planning import Plan
from vantage.training.verl import store
from vantage.training.verl.arrangement import (
    Generated,
    Layout,
    Ordered,
    Stored,
    Tag,
    distinct,
    lay_out,
    ordered,
)
from vantage.training.verl.correction import COMPARED, correction
from vantage.training.verl.loss import ROWS, TOKENS
from vantage.training.verl.rows import Movers


@dataclass(frozen=True)
class RolloutBatch:
    """A rollout batch and its rows in veRL's store.

    Attributes:
        generated: Scored rollouts.
        plan: Plan made from them.
        layout: Positions of the plan's rows in the updates.
        stored: Distinct rows of the plan.
        padding: Key of a padding row -> veRL's tag.
        texts: Rollout -> text of its response, for responses that the record keeps.
        log_prob_N: Mean log-prob of each response under the prompt that generated it, before the
            updates, shape (N,); NaN if not computed.
    """

    generated: Generated
    plan: Plan
    layout: Layout
    stored: Stored
    padding: Mapping[str, Tag]
    texts: Mapping[int, str]
    log_prob_N: np.ndarray

    @property
    def rows(self) -> dict[str, Tag]:
        """Key -> veRL's tag, for all rows whose log-probs are computed."""
        return {**self.stored.tag_of, **self.stored.scored, **self.padding}

    @property
    def responses(self) -> list[str]:
        """Text of each response; empty if the record does not keep it."""
        return [self.texts.get(row, "") for row in range(len(self.generated.keys))]

    def ordered(self, number: int) -> Ordered:
        """Put the rows of batch `number` in the order of processes and updates."""
        padding = list(self.padding.items())
        return ordered(self.layout, self.plan.samples, self.stored, padding, number)

    def own_log_probs(self) -> np.ndarray:
        """Read `log_prob_N` from the store."""
        own, mean_N = self.stored.own_of, self.log_prob_N.copy()
        mean_N[list(own)] = store.mean_log_probs(list(own.values()))
        return mean_N

    def metrics(self, rewards: Iterable[str]) -> dict[str, float]:
        """Metrics of all generated rollouts, without reward functions that returned no value.

        Args:
            rewards: Names of the reward functions.
        """
        generated = self.generated
        parts = zip(part_names(rewards), generated.part_NF.T, strict=True)
        reward_N = generated.reward_N[~np.isnan(generated.reward_N)]
        metrics = {
            "completions/mean_length": float(generated.lengths().mean()),
            **{
                f"rewards/{name}/mean": float(np.nanmean(part_N))
                for name, part_N in parts
                if not np.isnan(part_N).all()
            },
        }
        if len(reward_N):
            metrics |= {"reward": float(reward_N.mean()), "reward_std": float(reward_N.std())}
        return metrics


def laid_out(generated: Generated, plan: Plan, actor: Any, workers: Any, *, updates: int) -> Layout:
    """Lay out the rows of a plan in the updates.

    Args:
        generated: Rollouts of the batch.
        plan: Plan made from them.
        actor: veRL's options of the actor.
        workers: veRL's workers of the actor.
        updates: Number of optimizer updates.
    """
    trained = plan.samples.rollout_M
    return lay_out(
        plan.samples,
        generated.lengths()[trained],
        generated.lengths("seq_len")[trained],
        updates=updates,
        processes=_processes_of(workers),
        multiple=1 if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu,
        by_tokens=actor.loss_agg_mode == "token-mean",
        # Without an advantage, a row has a gradient only if another term of the loss does.
        skips_silent=not (actor.use_kl_loss or actor.entropy_coeff),
    )


def _processes_of(workers: Any) -> int:
    """Number of groups of the actor's workers that receive different rows."""
    if "actor" not in workers._dispatch_info:
        workers._dispatch_info["actor"] = workers._query_dispatch_info("actor")
    return max(workers._dispatch_info["actor"]) + 1


def write_rows(
    generated: Generated,
    plan: Plan,
    layout: Layout,
    number: int,
    *,
    own: bool,
    padding: Mapping[str, Tag],
    texts: Mapping[int, str],
    movers: Movers,
) -> RolloutBatch:
    """Write the rows that the plan adds to the generated ones, and remove those that it drops.

    Args:
        generated: Rollouts of the batch.
        plan: Plan made from them.
        layout: Layout of the plan.
        number: Number of the rollout batch.
        own: Whether to keep, for every trained rollout, the row under the prompt that generated it,
            so that its log-probs are computed.
        padding: Key -> veRL's tag of the layout's padding rows, which the store already has.
        texts: Rollout -> text of its response, for responses that the record keeps.
        movers: Actors that write the rows.
    """
    stored = distinct(generated, plan.samples.take(layout.forwarded), number, own=own)
    movers.write(stored.joined, stored.tag_of)
    unknown_N = np.full(len(generated.keys), np.nan)
    batch = RolloutBatch(generated, plan, layout, stored, padding, texts, unknown_N)
    needed = batch.rows
    store.clear([key for key in generated.keys if key not in needed])
    return batch


def compared(stored: Stored) -> tuple[Mismatch, dict[str, float]]:
    """Compare the log-probs of sampler and trainer for responses under their own prompts.

    Returns:
        The mismatch; and veRL's metrics of it without shared responses, which veRL's own
        computation includes. The metrics are empty if no response is shared.
    """
    own = list(stored.own_of.values())
    if not own:
        return mismatch(np.zeros(0), np.zeros(0)), {}
    data = store.get(own, [*COMPARED, "responses"]).to_padded_tensor()
    counted = data["response_mask"].bool()
    trainer, sampler = (
        data[name][counted].float().numpy() for name in ("old_log_probs", "rollout_log_probs")
    )
    corrected = calculate_debug_metrics(DataProto(batch=data)) if stored.joined else {}
    return mismatch(trainer, sampler), corrected


def write_correction(batch: RolloutBatch, options: Any) -> dict[str, float]:
    """Write veRL's rollout correction of each rollout to all rows that have its response.

    Args:
        batch: The current batch, whose log-probs are in the store.
        options: veRL's `rollout_correction`.

    Returns:
        veRL's metrics of the correction.
    """
    stored = batch.stored
    if not stored.tag_of:
        return {}
    own = store.get(list(stored.own_of.values()), COMPARED).to_padded_tensor()
    row_of = {rollout: row for row, rollout in enumerate(stored.own_of)}
    fields, metrics = correction(own, [row_of[rollout] for rollout in stored.rollouts()], options)
    keys, padding = list(stored.key_of.values()), list(batch.padding)
    mask = store.masks(keys)
    store.put(keys, {name: response_to_nested(value, mask) for name, value in fields.items()})
    if padding and "rollout_is_weights" in fields:
        mask = store.masks(padding)
        zeros = torch.zeros_like(mask.to_padded_tensor(padding=0), dtype=torch.float32)
        store.put(padding, {"rollout_is_weights": response_to_nested(zeros, mask)})
    return metrics


def write_updates(batch: Ordered, movers: Movers) -> None:
    """Write the copied rows, and the fields that the loss reads from every row.

    Args:
        batch: Rows in the order of the updates.
        movers: Actors that write the rows.
    """
    movers.write(batch.copies, dict(zip(batch.keys, batch.tags, strict=True)))
    mask = store.masks(batch.keys)
    advantage_B1 = torch.from_numpy(batch.advantage_B).float()[:, None]
    advantages = response_to_nested(advantage_B1 * mask.to_padded_tensor(padding=0), mask)
    totals = {
        name: torch.from_numpy(total_B)[:, None]
        for name, total_B in ((ROWS, batch.rows_B), (TOKENS, batch.tokens_B))
    }
    store.put(batch.keys, {"advantages": advantages, "returns": advantages, **totals})
