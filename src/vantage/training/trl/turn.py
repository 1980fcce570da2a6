"""One call of TRL's generation: what is asked, and what its hooks find out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from trl.data_utils import prepare_multimodal_messages

from vantage.questions.schema import images_in
from vantage.training.trl.encoding import Encoding, merge_fields

# Under which prompts reach vLLM among the fields that TRL hands to generation.
WRITTEN = "written"


@dataclass
class Turn:
    """Rows of this process that TRL generates for and scores.

    Attributes:
        examples: the rows, their prompts as the processor takes them.
        encodings: of the prompts.
        number: of the turn in a rollout batch, from 0; None in a validation.
        rewards: names of the reward functions.
        question_N: id in the batch of the question of each rollout of all processes.
        part_NF: rewards of all processes by function, once they are computed.
        spoiled: which responses sampled a token that stands for media.
    """

    examples: list[dict[str, Any]]
    encodings: list[Encoding]
    rewards: Sequence[str]
    number: int | None = None
    question_N: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    part_NF: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    spoiled: list[bool] = field(default_factory=list)

    @property
    def prompts(self) -> list:
        """The prompts, with their images."""
        return [example["prompt"] for example in self.examples]

    def tokenized(self, *, pixels: bool) -> tuple[list, list | None, dict[str, Any]]:
        """Ids and images of each prompt, and other fields, as TRL takes them.

        Args:
            pixels: whether the model at hand reads them. vLLM reads the pictures by itself, and
                pixels of every rollout would fill the host.
        """
        images = [row.images or None for row in self.encodings]
        fields = {WRITTEN: [row.written or row.ids for row in self.encodings]}
        if pixels:
            fields = merge_fields(self.encodings)
        return [row.ids for row in self.encodings], images if any(images) else None, fields

    def rows(self, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows, with what a rollout function found out about each."""
        return [{**row, **more} for row, more in zip(self.examples, found, strict=True)]

    def blanked(self, ids: list[list[int]], media: Sequence[int], pad_id: int) -> list[list[int]]:
        """Responses with padding for media tokens: one would ask for an image that is not there."""
        banned = set(media)
        self.spoiled = [not banned.isdisjoint(row) for row in ids]
        return [[pad_id if token in banned else token for token in row] for row in ids]


def in_one_form(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as TRL has them: where a column has a picture for one, the prompts of all are parts."""
    column = bool(examples) and ("images" in examples[0] or "image" in examples[0])
    if not column or not any(images_in(row["prompt"]) for row in examples):
        return examples
    return [{**row, "prompt": prepare_multimodal_messages(row["prompt"])} for row in examples]
