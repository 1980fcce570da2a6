"""Prompts as a model takes them: tokens, and the pixels of their images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

PER_TOKEN_FIELDS = ("token_type_ids", "mm_token_type_ids")


@dataclass
class Encoding:
    """A prompt as the model takes it.

    Attributes:
        ids: its tokens, image tokens included.
        images: its images.
        fields: what else the processor makes of it (pixels, grids, token types).
    """

    ids: list[int]
    images: list[Any]
    fields: dict[str, Any]


def merge_fields(rows: list[Encoding]) -> dict[str, Any]:
    """Fields of several prompts as the processor gives them for a batch: pixels one after the
    other, token types a list a row.
    """
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row.fields):
        if name in PER_TOKEN_FIELDS:
            merged[name] = [row.fields.get(name, [0] * len(row.ids)) for row in rows]
        else:
            merged[name] = _joined([row.fields[name] for row in rows if name in row.fields])
    return merged


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    """One after the other, those with fewer images or tiles filled up with zeros."""
    shape = torch.tensor([tensor.shape[1:] for tensor in tensors]).amax(dim=0).tolist()
    wide = [tensor.new_zeros(len(tensor), *shape) for tensor in tensors]
    for room, tensor in zip(wide, tensors, strict=True):
        room[tuple(map(slice, tensor.shape))] = tensor
    return torch.cat(wide)


def per_prompt(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a batch of one prompt: token types as its list, everything else as tensors."""
    return {
        name: list(value[0])
        if name in PER_TOKEN_FIELDS
        else value
        if torch.is_tensor(value)
        else torch.tensor(np.array(value))
        for name, value in fields.items()
    }


def tiles(rows: list[Encoding]) -> dict[str, list[int]]:
    """Tiles of each row, where images are cut into tiles that stand one after the other."""
    sizes = [len(row.fields["pixel_values"]) if row.images else 0 for row in rows]
    shape = next(row.fields["pixel_values"] for row in rows if row.images).ndim
    tiled = shape == 4 and sum(sizes) != sum(len(row.images) for row in rows)
    return {"num_tiles": sizes} if tiled else {}
