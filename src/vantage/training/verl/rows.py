"""Writes rows of veRL's store: responses under other prompts, copies and padding.

Rows contain pixels. Actors on the nodes of the store therefore read and write them, while the
driver only handles keys.
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

# Number of rows that a mover writes at a time.
CHUNK = 32
# Number of CPU cores of the cluster per mover.
CORES = 16


def join(response: dict[str, Any], prompt: dict[str, Any]) -> dict[str, Any]:
    """Replace the prompt in the fields of a row.

    The positions of the response continue from the last position of the prompt. All chat templates
    end with text, so this holds in each dimension of multi-dimensional positions.

    Args:
        response: Fields of the row that provides the response and all other fields.
        prompt: Fields of the row that provides the prompt and its images.
    """
    if response is prompt:
        return response
    of_prompt = prompt["position_ids"][..., : len(prompt["prompts"])]
    steps = torch.arange(1, len(response["responses"]) + 1)
    fields = {
        **response,
        "prompts": prompt["prompts"],
        "input_ids": torch.cat([prompt["prompts"], response["responses"]]),
        "position_ids": torch.cat([of_prompt, of_prompt[..., -1:] + steps], dim=-1),
    }
    if "multi_modal_inputs" in prompt:
        fields["multi_modal_inputs"] = prompt["multi_modal_inputs"]
    return fields


def write(rows: Sequence[Joined], tags: Sequence[Tag]) -> None:
    """Write rows that are joined from rows in the store, `CHUNK` at a time.

    Args:
        rows: Rows to write.
        tags: veRL's tag of each.
    """
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        keys = list(dict.fromkeys(key for row in chunk for key in (row.response, row.prompt)))
        data = tq.kv_batch_get(keys=keys, partition_id=PARTITION)
        stored = {key: fields_of(data, index) for index, key in enumerate(keys)}
        joined = [join(stored[row.response], stored[row.prompt]) for row in chunk]
        tq.kv_batch_put(
            keys=[row.key for row in chunk],
            partition_id=PARTITION,
            fields=list_of_dict_to_tensordict(joined),
            tags=list(tags[start : start + CHUNK]),
        )


def fields_of(data: Any, index: int) -> dict[str, Any]:
    """Fields of row `index` of a TensorDict, by name."""
    row = data[index]
    return {name: row[name] for name in row.keys()}  # noqa: SIM118, a TensorDict is not iterable


class _Mover:
    def __init__(self) -> None:
        tq.init()

    def write(self, rows: Sequence[Joined], tags: Sequence[Tag]) -> None:
        write(rows, tags)


class Movers:
    """Actors on all nodes that write rows; they start with the first rows."""

    def __init__(self) -> None:
        self._actors: list[Any] = []

    def write(self, rows: Sequence[Joined], tag_of: Mapping[str, Tag]) -> None:
        """Write rows in parallel; each actor writes rows of the same prompts.

        Args:
            rows: Rows to write.
            tag_of: Key of a row -> veRL's tag.
        """
        if not rows:
            return
        if not self._actors:
            count = max(1, int(ray.cluster_resources().get("CPU", 1)) // CORES)
            spread = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_Mover)
            self._actors = [spread.remote() for _ in range(count)]
        by_prompt = sorted(rows, key=lambda row: row.prompt)
        size = -(-len(by_prompt) // len(self._actors))
        parts = [by_prompt[start : start + size] for start in range(0, len(by_prompt), size)]
        ray.get(
            [
                actor.write.remote(part, [tag_of[row.key] for row in part])
                for actor, part in zip(self._actors, parts, strict=False)
            ]
        )


def filled(batch: KVBatchMeta, count: int, token: int) -> dict[str, Tag]:
    """Write padding rows.

    Args:
        batch: Rows that have the fields of the padding.
        count: Number of padding rows.
        token: Token id that fills them.

    Returns:
        Key of each padding row -> veRL's tag.
    """
    padded = upsample_batch_to_divisible_size(batch, len(batch) + count, token)
    return dict(zip(padded.keys[len(batch) :], padded.tags[len(batch) :], strict=True))
