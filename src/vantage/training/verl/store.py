"""Reads and writes columns of veRL's store from the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from tensordict import TensorDict

PARTITION = "train"


def get(keys: Sequence[str], fields: Sequence[str]) -> Any:
    """Read fields of rows, as a TensorDict."""
    return tq.kv_batch_get(keys=list(keys), partition_id=PARTITION, select_fields=list(fields))


def put(keys: Sequence[str], fields: Mapping[str, Any]) -> None:
    """Write fields of rows."""
    values = TensorDict(dict(fields), batch_size=len(keys))
    tq.kv_batch_put(keys=list(keys), partition_id=PARTITION, fields=values)


def clear(keys: Sequence[str]) -> None:
    """Remove rows."""
    if keys:
        tq.kv_clear(keys=list(keys), partition_id=PARTITION)


def masks(keys: Sequence[str]) -> torch.Tensor:
    """Read the mask of the response tokens that count, as a nested tensor with B rows."""
    return get(keys, ["response_mask"])["response_mask"]


def rewards(keys: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Read the values of F reward functions for N rollouts, shape (N, F)."""
    rows = [row["reward_extra_info"] for row in list(get(keys, ["extra_fields"])["extra_fields"])]
    return np.array([[values[name] for name in names] for values in rows])


def responses(keys: Sequence[str], tokenizer: Any) -> list[str]:
    """Read and decode responses, without special tokens."""
    if not keys:
        return []
    data = get(keys, ["responses"])
    ids = [data[row]["responses"] for row in range(len(keys))]
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def mean_log_probs(keys: Sequence[str]) -> list[float]:
    """Mean log-prob of each response under the trainer before the updates."""
    if not keys:
        return []
    data = get(keys, ["response_mask", "old_log_probs"])
    sums = data["old_log_probs"].to_padded_tensor(0).sum(dim=1)
    counts = data["response_mask"].to_padded_tensor(0).sum(dim=1)
    return (sums / counts).tolist()
