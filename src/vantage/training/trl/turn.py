"""One call of TRL's generation: its prompts, and the results of its hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from trl.data_utils import prepare_multimodal_messages

from vantage.questions.schema import images_in
from vantage.training.trl.encoding import Encoding

# Field that passes the turn through TRL's generation.
TURN = "turn"


@dataclass
class Turn:
    """Rows of this process that TRL generates for and scores.

    Attributes:
        examples: Data rows with rendered prompts.
        encodings: Encoding of each prompt, the same object for all responses to a prompt.
        seeds: Seed of the random numbers of each response.
        number: Number of the turn within the rollout batch, from 0; None for validation.
        rewards: Names of the reward functions.
        question_N: Id within the batch of each rollout's question, over all processes, shape (N,).
        part_NF: Rewards of all processes by function, once computed, shape (N, F).
        spoiled: Whether each response sampled a media placeholder token.
    """

    examples: list[dict[str, Any]]
    encodings: list[Encoding]
    seeds: Sequence[Sequence[int]]
    rewards: Sequence[str]
    number: int | None = None
    question_N: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    part_NF: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    spoiled: list[bool] = field(default_factory=list)

    @property
    def prompts(self) -> list:
        """Prompts with their images."""
        return [example["prompt"] for example in self.examples]

    def tokenized(self) -> tuple[list, list | None, dict[str, Any]]:
        """Return the encoded prompts in the form of TRL's tokenization: ids, images and fields.

        The fields have no pixel values, since those of all rollouts would fill the host's memory.
        """
        images = [row.images or None for row in self.encodings]
        return [row.ids for row in self.encodings], images if any(images) else None, {TURN: self}

    def rows(self, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Data rows with the extra fields of a rollout function."""
        return [{**row, **more} for row, more in zip(self.examples, found, strict=True)]


def blanked(
    ids: list[list[int]], media: Sequence[int], pad_id: int
) -> tuple[list[list[int]], list[bool]]:
    """Replace sampled media tokens by padding, since the model would expect an image there.

    Args:
        ids: Tokens of each response.
        media: Ids of media placeholder tokens.
        pad_id: Id of the padding token.

    Returns:
        The tokens, and whether each response sampled a media token.
    """
    banned = set(media)
    spoiled = [not banned.isdisjoint(row) for row in ids]
    return [[pad_id if token in banned else token for token in row] for row in ids], spoiled


def in_one_form(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Convert all prompts to multimodal messages if any of them has an image, as TRL expects."""
    column = bool(examples) and ("images" in examples[0] or "image" in examples[0])
    if not column or not any(images_in(row["prompt"]) for row in examples):
        return examples
    return [{**row, "prompt": prepare_multimodal_messages(row["prompt"])} for row in examples]
