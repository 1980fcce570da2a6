"""Rows in veRL's store: joined, copied and filled up.

Rows hold pixels, so they are moved by actors beside the storage; the driver handles keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from vantage.training.verl.arrangement import Joined, Tag
from vantage.training.verl.store import PARTITION

# Rows that a mover holds at a time.
CHUNK = 32
# Cores for each mover on a node.
CORES = 16


def join(response: dict[str, Any], prompt: dict[str, Any]) -> dict[str, Any]:
    """Fields of a row with the prompt of another.

    The response takes the positions behind the last of the prompt, which is text in every chat
    template, so that it counts on from there in all rows of multi-dimensional positions.
    """
    if response is prompt:
        return response
    of_prompt = prompt["position_ids"][..., : len(prompt["prompts"])]
    behind = torch.arange(1, len(response["responses"]) + 1)
    fields = {
        **response,
        "prompts": prompt["prompts"],
        "input_ids": torch.cat([prompt["prompts"], response["responses"]]),
        "position_ids": torch.cat([of_prompt, of_prompt[..., -1:] + behind], dim=-1),
    }
    if "multi_modal_inputs" in prompt:
        fields["multi_modal_inputs"] = prompt["multi_modal_inputs"]
    return fields


def write(rows: Sequence[Joined], tags: Sequence[Tag]) -> None:
    """Make rows of those in the store, a few at a time."""
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        keys = list(dict.fromkeys(key for row in part for key in (row.response, row.prompt)))
        data = tq.kv_batch_get(keys=keys, partition_id=PARTITION)
        held = {key: fields_of(data, place) for place, key in enumerate(keys)}
        made = [join(held[row.response], held[row.prompt]) for row in part]
        tq.kv_batch_put(
            keys=[row.key for row in part],
            partition_id=PARTITION,
            fields=list_of_dict_to_tensordict(made),
            tags=list(tags[start : start + CHUNK]),
        )


def fields_of(data: Any, place: int) -> dict[str, Any]:
    """One row as plain fields."""
    row = data[place]
    return {name: row[name] for name in row.keys()}  # noqa: SIM118, of a TensorDict


class _Mover:
    def __init__(self) -> None:
        tq.init()

    def write(self, rows: Sequence[Joined], tags: Sequence[Tag]) -> None:
        write(rows, tags)


class Movers:
    """Actors on all nodes that write rows; started when first needed."""

    def __init__(self) -> None:
        self._actors: list[Any] = []

    def write(self, rows: Sequence[Joined], tag_of: Mapping[str, Tag]) -> None:
        """Write rows side by side, those of the same prompt together.

        Args:
            rows: to be written.
            tag_of: what veRL knows of each, by its key.
        """
        if not rows:
            return
        if not self._actors:
            count = max(1, int(ray.cluster_resources().get("CPU", 1)) // CORES)
            spread = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_Mover)
            self._actors = [spread.remote() for _ in range(count)]
        by_prompt = sorted(rows, key=lambda row: row.prompt)
        each = -(-len(by_prompt) // len(self._actors))
        parts = [by_prompt[start : start + each] for start in range(0, len(by_prompt), each)]
        ray.get(
            [
                actor.write.remote(part, [tag_of[row.key] for row in part])
                for actor, part in zip(self._actors, parts, strict=False)
            ]
        )


def filled(batch: KVBatchMeta, count: int, token: int) -> dict[str, Tag]:
    """Write so many rows of padding; the tag of each by its key.

    Args:
        batch: rows whose fields the padding takes after.
        count: rows of padding.
        token: what they consist of.
    """
    more = upsample_batch_to_divisible_size(batch, len(batch) + count, token)
    return dict(zip(more.keys[len(batch) :], more.tags[len(batch) :], strict=True))
