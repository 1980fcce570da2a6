"""veRL's rollout correction where a response is trained under several prompts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from verl.protocol import DataProto
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch

# What veRL compares.
COMPARED = ("response_mask", "rollout_log_probs", "old_log_probs")


def corrects_before(options: Any) -> bool:
    """Whether the correction is worked out before the update; in bypass mode veRL's loss does."""
    wanted = options.get("rollout_is") or options.get("rollout_rs")
    return bool(wanted) and not options.get("bypass_mode")


def correction(
    own: Mapping[str, torch.Tensor], place_B: Sequence[int], options: Any
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Weights and masks of the rows that are trained, from the rollouts' own rows.

    The ratio of trainer and sampler says from where a response was drawn, so it is that under
    the prompt that generated it, whatever prompt it is trained under. Metrics, and the mean of
    `rollout_is_batch_normalize`, are over rollouts, each once.

    Args:
        own: `COMPARED`, (N, T), of N rollouts under the prompts that generated them.
        place_B: for each of B trained rows, which of the N rollouts its response is.
        options: veRL's `rollout_correction`.

    Returns:
        `response_mask` without what is rejected and, where weights are wanted,
        `rollout_is_weights`, both (B, T); and veRL's metrics.
    """
    batch = DataProto.from_dict({name: own[name] for name in COMPARED})
    corrected, metrics = compute_rollout_correction_and_add_to_batch(batch, options)
    names = [n for n in ("response_mask", "rollout_is_weights") if n in corrected.batch]
    index_B = torch.as_tensor(place_B, dtype=torch.long)
    return {name: corrected.batch[name][index_B] for name in names}, metrics
