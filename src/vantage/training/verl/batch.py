"""The current rollout batch: its plan, and the rows of the plan in veRL's store.

Rows are written in two steps. For the log-probs, each (prompt, rollout) of the plan is in the
store once (`RolloutBatch.rows`); for the updates rows that are trained again are repeated, in the
order of processes and updates (`write_updates`).
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
from vantage.training.verl.loss import ROWS
from vantage.training.verl.rows import Movers


@dataclass(frozen=True)
class RolloutBatch:
    """A rollout batch and the rows that are trained.

    Attributes:
        generated: Its rollouts, with their rewards.
        plan: made of them.
        layout: Positions of the plan's rows in the updates.
        stored: each (prompt, rollout) of the plan, by the key of its row.
        padding: Tag of each padding row, by its key.
        texts: Texts of the responses that the record keeps, by rollout.
        log_prob_N: mean log-prob of each response under the prompt that generated it, before the
            updates; NaN if it was not computed.
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
        """Tag of each row that gets log-probs, by its key."""
        return {**self.stored.tag_of, **self.stored.scored, **self.padding}

    @property
    def responses(self) -> list[str]:
        """Text of each response, empty where the record does not keep it."""
        return [self.texts.get(row, "") for row in range(len(self.generated.keys))]

    def ordered(self, number: int) -> Ordered:
        """The rows in the order of processes and updates; `number` is that of the batch."""
        padding = list(self.padding.items())
        return ordered(self.layout, self.plan.samples, self.stored, padding, number)

    def own_log_probs(self) -> np.ndarray:
        """`log_prob_N`, read from the store."""
        own, mean_N = self.stored.own_of, self.log_prob_N.copy()
        mean_N[list(own)] = store.mean_log_probs(list(own.values()))
        return mean_N

    def metrics(self, rewards: Iterable[str]) -> dict[str, float]:
        """Means over what was generated; nothing of a reward that gave no value.

        Args:
            rewards: names of the reward functions.
        """
        generated = self.generated
        parts = zip(part_names(rewards), generated.part_NF.T, strict=True)
        reward_N = generated.reward_N[~np.isnan(generated.reward_N)]
        found = {
            "completions/mean_length": float(generated.lengths().mean()),
            **{
                f"rewards/{name}/mean": float(np.nanmean(part_N))
                for name, part_N in parts
                if not np.isnan(part_N).all()
            },
        }
        if len(reward_N):
            found |= {"reward": float(reward_N.mean()), "reward_std": float(reward_N.std())}
        return found


def laid_out(
    generated: Generated, plan: Plan, actor: Any, *, updates: int, processes: int
) -> Layout:
    """Where the rows of a plan stand in the updates.

    Args:
        generated: the rollouts.
        plan: made of them.
        actor: veRL's options of the actor.
        updates: optimizer updates made of the plan.
        processes: groups of workers that see different rows.
    """
    trained = plan.samples.rollout_M
    return lay_out(
        plan.samples,
        generated.lengths()[trained],
        generated.lengths("seq_len")[trained],
        updates=updates,
        processes=processes,
        multiple=1 if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu,
        by_tokens=actor.loss_agg_mode == "token-mean",
    )


def processes_of(workers: Any) -> int:
    """Groups of the actor's workers that see different rows."""
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
    """Write the rows that the plan has and nobody generated, and remove those that it drops.

    Args:
        generated: the rollouts.
        plan: made of them.
        layout: of the plan.
        number: of the rollout batch.
        own: whether the own row of every trained rollout stays, to be scored.
        padding: rows of padding that the layout has, already written.
        texts: of the responses that the record keeps.
        movers: write whole rows.
    """
    stored = distinct(generated, plan.samples, number, own=own)
    movers.write(stored.made, stored.tag_of)
    unknown_N = np.full(len(generated.keys), np.nan)
    batch = RolloutBatch(generated, plan, layout, stored, padding, texts, unknown_N)
    kept = batch.rows
    store.clear([key for key in generated.keys if key not in kept])
    return batch


def compared(stored: Stored) -> tuple[Mismatch, dict[str, float]]:
    """Sampler against trainer, on the tokens of responses under the prompts that generated them.

    Returns:
        The mismatch; and veRL's metrics of it, where it made them of shared rows too.
    """
    own = list(stored.own_of.values())
    if not own:
        return mismatch(np.zeros(0), np.zeros(0)), {}
    data = store.get(own, [*COMPARED, "responses"]).to_padded_tensor()
    counted = data["response_mask"].bool()
    trainer, sampler = (
        data[name][counted].float().numpy() for name in ("old_log_probs", "rollout_log_probs")
    )
    again = calculate_debug_metrics(DataProto(batch=data)) if stored.made else {}
    return mismatch(trainer, sampler), again


def write_correction(batch: RolloutBatch, options: Any) -> dict[str, float]:
    """Write weights and masks of the rollouts into every row that has their response.

    Args:
        batch: at work, its log-probs computed.
        options: veRL's `rollout_correction`.

    Returns:
        veRL's metrics.
    """
    stored = batch.stored
    if not stored.tag_of:
        return {}
    own = store.get(list(stored.own_of.values()), COMPARED).to_padded_tensor()
    place = {rollout: number for number, rollout in enumerate(stored.own_of)}
    made, metrics = correction(own, [place[rollout] for rollout in stored.rollouts()], options)
    keys, padding = list(stored.key_of.values()), list(batch.padding)
    mask = store.masks(keys)
    store.put(keys, {name: response_to_nested(value, mask) for name, value in made.items()})
    if padding and "rollout_is_weights" in made:
        mask = store.masks(padding)
        nothing = torch.zeros_like(mask.to_padded_tensor(padding=0), dtype=torch.float32)
        store.put(padding, {"rollout_is_weights": response_to_nested(nothing, mask)})
    return metrics


def write_updates(made: Ordered, movers: Movers) -> None:
    """Write the rows that are trained again, and what the loss reads of every row.

    Args:
        made: the rows in the order of the updates.
        movers: write whole rows.
    """
    movers.write(made.made, dict(zip(made.keys, made.tags, strict=True)))
    mask = store.masks(made.keys)
    advantage_B1 = torch.from_numpy(made.advantage_B).float()[:, None]
    advantages = response_to_nested(advantage_B1 * mask.to_padded_tensor(padding=0), mask)
    rows_B1 = torch.from_numpy(made.rows_B)[:, None]
    store.put(made.keys, {"advantages": advantages, "returns": advantages, ROWS: rows_B1})
