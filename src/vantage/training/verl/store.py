"""Columns of rows in veRL's store, as the driver reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from tensordict import TensorDict

PARTITION = "train"


def get(keys: Sequence[str], fields: Sequence[str]) -> Any:
    """Some fields of rows, as a TensorDict."""
    return tq.kv_batch_get(keys=list(keys), partition_id=PARTITION, select_fields=list(fields))


def put(keys: Sequence[str], fields: Mapping[str, Any]) -> None:
    """Write fields of rows."""
    held = TensorDict(dict(fields), batch_size=len(keys))
    tq.kv_batch_put(keys=list(keys), partition_id=PARTITION, fields=held)


def clear(keys: Sequence[str]) -> None:
    """Remove rows."""
    if keys:
        tq.kv_clear(keys=list(keys), partition_id=PARTITION)


def masks(keys: Sequence[str]) -> torch.Tensor:
    """Which tokens of the responses count, one nested row for each of B rows."""
    return get(keys, ["response_mask"])["response_mask"]


def rewards(keys: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """What each of F rewards gave each of N rollouts, (N, F)."""
    found = [row["reward_extra_info"] for row in list(get(keys, ["extra_fields"])["extra_fields"])]
    return np.array([[parts[name] for name in names] for parts in found])


def responses(keys: Sequence[str], tokenizer: Any) -> list[str]:
    """Texts of responses."""
    if not keys:
        return []
    data = get(keys, ["responses"])
    ids = [data[row]["responses"] for row in range(len(keys))]
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def mean_log_probs(keys: Sequence[str]) -> list[float]:
    """Mean log-prob of each response, by the trainer before the updates."""
    if not keys:
        return []
    data = get(keys, ["response_mask", "old_log_probs"])
    sums = data["old_log_probs"].to_padded_tensor(0).sum(dim=1)
    counts = data["response_mask"].to_padded_tensor(0).sum(dim=1)
    return (sums / counts).tolist()
