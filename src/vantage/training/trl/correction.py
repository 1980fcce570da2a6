"""Importance sampling correction between the engine that samples and the trained policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from vantage.training.trl.config import VantageConfig


def ratios(
    own_RT: torch.Tensor, sampling_RT: torch.Tensor, mask_RT: torch.Tensor, args: VantageConfig
) -> torch.Tensor:
    """Compute the ratios that weight the loss, as TRL does.

    A token whose sampling log-prob is unknown counts as equally probable for both.

    Args:
        own_RT: Log-probs of the policy, under the prompts that generated the responses, shape
            (R, T).
        sampling_RT: Log-probs of the sampler, NaN where unknown, shape (R, T).
        mask_RT: Mask of the tokens that count, shape (R, T).
        args: Options `vllm_importance_sampling_mode`, `..._clip_min` and `..._clip_max`.

    Returns:
        Ratio of each token, shape (R, T), or of each response, shape (R, 1).
    """
    known_RT = mask_RT.bool() & ~sampling_RT.isnan()
    apart_RT = torch.where(known_RT, own_RT - sampling_RT, 0.0)
    level, action = args.vllm_importance_sampling_mode.split("_")
    ratio = (apart_RT.sum(dim=1, keepdim=True) if level == "sequence" else apart_RT).exp()
    low, high = args.vllm_importance_sampling_clip_min, args.vllm_importance_sampling_clip_max
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if action == "truncate":
        return ratio.clamp(low, high)
    return ratio.masked_fill((ratio < low) | (ratio > high), 0.0)


def metrics(
    own_RT: torch.Tensor, sampling_RT: torch.Tensor, mask_RT: torch.Tensor, ratio: torch.Tensor
) -> dict[str, float]:
    """TRL's metrics of the correction, of the responses that are trained.

    Args:
        own_RT, sampling_RT, mask_RT: As for `ratios`.
        ratio: The ratios, shape (R, T) or (R, 1).
    """
    counted_RT = mask_RT.bool()
    apart_T = (own_RT - sampling_RT).abs()[counted_RT & ~sampling_RT.isnan()]
    ratio_T = ratio[counted_RT] if ratio.shape == mask_RT.shape else ratio.flatten()
    if not len(apart_T):  # no sampling log-prob is known
        apart_T = own_RT.new_zeros(1)
    if not len(ratio_T):
        ratio_T = ratio.new_ones(1)
    return {
        "sampling/sampling_logp_difference/mean": apart_T.mean().item(),
        "sampling/sampling_logp_difference/max": apart_T.max().item(),
        "sampling/importance_sampling_ratio/min": ratio_T.min().item(),
        "sampling/importance_sampling_ratio/mean": ratio_T.mean().item(),
        "sampling/importance_sampling_ratio/max": ratio_T.max().item(),
    }


def owners(
    own_keys: Sequence[tuple[int, int]], dealt: Sequence[Sequence[tuple[int, int]]]
) -> list[list[tuple[int, int]]]:
    """Assign the rollouts that are trained to the processes that score them once.

    Args:
        own_keys: (prompt, rollout) key of each rollout under the prompt that generated it.
        dealt: Keys that each process trains.

    Returns:
        Keys of each process: those that it trains anyway, and those of rollouts that are trained
        under other prompts alone.
    """
    owned: list[list[tuple[int, int]]] = [[] for _ in dealt]
    taken: set[int] = set()
    for trains_own in (True, False):
        for process, keys in enumerate(dealt):
            for key in keys:
                own = own_keys[key[1]]
                if key[1] not in taken and (not trains_own or key == own):
                    taken.add(key[1])
                    owned[process].append(own)
    return owned
