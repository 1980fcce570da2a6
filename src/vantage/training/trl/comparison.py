"""Compares the log-probs of sampler and trainer on a rollout batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vantage.training.mismatch import Canary, Mismatch, mismatch, renormalisation
from vantage.training.trl.batch import RolloutBatch
from vantage.training.trl.config import VantageConfig
from vantage.training.trl.policy import Key, Policy
from vantage.training.trl.vllm import PACKAGES, REMEDY, Sampler

SAMPLED = "sampling_per_token_logps"


def canary_of(args: VantageConfig, model: Any, policy: Policy, sampler: Sampler) -> Canary:
    """Build the canary of a run with vLLM.

    Args:
        args: Options of the run.
        model: The trained model.
        policy: Policy of the trainer.
        sampler: vLLM.
    """
    changed = args.changes_of_log_probs
    bounded = not changed.keys() - {"top_p"}
    on_cpu = policy.accelerator.device.type == "cpu"  # GPU kernels may round inputs to TF32
    dtypes = {policy.computes_in(model), sampler.dtype}
    return Canary(
        float32=on_cpu and dtypes == {torch.float32},
        slack=renormalisation(changed.get("top_p", 1.0)) if bounded else math.inf,
        family=lambda: model.config.model_type,
        packages=PACKAGES,
        remedy=REMEDY,
    )


def compared(
    batch: RolloutBatch,
    process: int,
    score: Callable[[Sequence[Key]], torch.Tensor] | None,
    rows: int,
) -> Mismatch:
    """Compare sampler and trainer on responses under the prompts that generated them.

    Args:
        batch: The rollout batch. If it has no old log-probs, a few rows are scored.
        process: Rank of this process.
        score: Keys -> log-probs, to score these rows; None to score none.
        rows: Number of rows to score.
    """
    scored = ~np.isnan(batch.scored.reward_N)
    keys = batch.row_of or batch.distinct_keys(process)
    own = [key for key in keys if batch.is_own(key) and scored[key[1]]]
    if batch.old_RT is not None:
        old_RT = batch.old_RT[[batch.row_of[key] for key in own]]
    elif score is not None:
        own = own[:rows]
        old_RT = score(own)
    else:
        return mismatch(np.zeros(0), np.zeros(0))
    rollouts = [rollout for _, rollout in own]
    sampling_RT = batch.responses.sampled[SAMPLED][rollouts]
    counted_RT = batch.responses.mask_NT[rollouts].bool()
    known_RT = counted_RT & ~sampling_RT.isnan()
    if known_RT.sum() > counted_RT.sum() / 2:  # vLLM omits a few log-probs
        counted_RT = known_RT
    old_T, sampling_T = (t[counted_RT].double().cpu().numpy() for t in (old_RT, sampling_RT))
    return mismatch(old_T, sampling_T)
