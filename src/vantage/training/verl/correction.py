"""Computes veRL's rollout correction for responses that are trained under several prompts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from verl.protocol import DataProto
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch

# Fields that veRL computes the correction from.
COMPARED = ("response_mask", "rollout_log_probs", "old_log_probs")


def corrects_before(options: Any) -> bool:
    """Whether a correction is on and computed before the update.

    In bypass mode, veRL's loss computes it.
    """
    corrects = options.get("rollout_is") or options.get("rollout_rs")
    return bool(corrects) and not options.get("bypass_mode")


def correction(
    own: Mapping[str, torch.Tensor], rollout_B: Sequence[int], options: Any
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Compute masks and weights of B trained rows from N rollouts under their own prompts.

    The correction compares the trainer with the sampler, which drew the response under the prompt
    that generated it. The ratio is therefore that under this prompt, whatever prompt the response
    is trained under. Metrics and the mean of `rollout_is_batch_normalize` count each rollout once.

    Args:
        own: Fields `COMPARED` of the rollouts under the prompts that generated them, each of shape
            (N, T).
        rollout_B: Index among the N rollouts of each trained row's response.
        options: veRL's `rollout_correction`.

    Returns:
        `response_mask` without rejected tokens and, if `options` asks for weights,
        `rollout_is_weights`, both of shape (B, T); and veRL's metrics.
    """
    batch = DataProto.from_dict({name: own[name] for name in COMPARED})
    corrected, metrics = compute_rollout_correction_and_add_to_batch(batch, options)
    names = [n for n in ("response_mask", "rollout_is_weights") if n in corrected.batch]
    index_B = torch.as_tensor(rollout_B, dtype=torch.long)
    return {name: corrected.batch[name][index_B] for name in names}, metrics
