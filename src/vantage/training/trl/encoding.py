"""Encoded prompts: tokens, pixel values and other inputs of the model."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature


def per_token(name: str) -> bool:
    """Whether a field of the processor's output has one value per token."""
    return name.endswith("token_type_ids")


@dataclass
class Encoding:
    """An encoded prompt.

    Attributes:
        prompt: A text, or a conversation with opened images.
        ids: Token ids, including image tokens.
        images: Images of the prompt.
        fields: Other outputs of the processor (pixel values, grids, token types).
        written: Token ids with a single placeholder per image, for engines that expand
            placeholders themselves; None if not needed.
        pictures: Key that identifies the images; empty without images.
    """

    prompt: str | list[dict[str, Any]]
    ids: list[int]
    images: list[Any]
    fields: dict[str, Any]
    written: list[int] | None = None
    pictures: Hashable = ()

    def with_pixels(self, count: int) -> Encoding:
        """The encoding with only the first `count` rows of pixel values."""
        fields = {n: v[:count] if n.startswith("pixel") else v for n, v in self.fields.items()}
        return replace(self, fields=fields)


def merge_fields(rows: list[Encoding]) -> dict[str, Any]:
    """Merge the fields of several prompts as the processor does for a batch.

    Pixel values are concatenated along the first dimension, or along the last one if the patches
    of all images form one row. Token types stay one list per prompt.
    """
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row.fields):
        having = [row for row in rows if name in row.fields]
        if per_token(name):
            merged[name] = [row.fields.get(name, [0] * len(row.ids)) for row in rows]
        elif name == "pixel_values" and all(map(_in_one_row, having)):
            merged[name] = torch.cat([row.fields[name] for row in having], dim=-1)
        elif name == "image_token_pooling":
            merged[name] = torch.cat(_shifted(having))
        else:
            merged[name] = _joined([row.fields[name] for row in having])
    return merged


def _in_one_row(row: Encoding) -> bool:
    """Whether the patches of all images form one row, whose length is the sum of their sizes."""
    pixels, sizes = row.fields["pixel_values"], row.fields.get("target_sizes")
    return sizes is not None and len(pixels) == 1 and pixels.shape[-1] % sizes.prod(1).sum() == 0


def _shifted(rows: list[Encoding]) -> list[torch.Tensor]:
    """Offset the patch indices of each image token by those of earlier rows; -1 is padding."""
    counts = [row.fields["pixel_values"].shape[:2].numel() for row in rows]
    starts = np.cumsum([0, *counts[:-1]]).tolist()
    numbers = [row.fields["image_token_pooling"] for row in rows]
    return [torch.where(n >= 0, n + start, n) for n, start in zip(numbers, starts, strict=True)]


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Concatenate tensors, zero-padding those with fewer images or tiles."""
    shape = torch.tensor([tensor.shape[1:] for tensor in tensors]).amax(dim=0).tolist()
    wide = [tensor.new_zeros(len(tensor), *shape) for tensor in tensors]
    for room, tensor in zip(wide, tensors, strict=True):
        room[tuple(map(slice, tensor.shape))] = tensor
    return torch.cat(wide)


def per_prompt(fields: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Unpack the fields of a batch of one prompt.

    Token types become a list, everything else a tensor of at least the precision `dtype`.
    """
    return {
        name: list(value[0]) if per_token(name) else _tensor(value, dtype)
        for name, value in fields.items()
    }


def _tensor(value: Any, dtype: torch.dtype) -> torch.Tensor:
    made = value if torch.is_tensor(value) else torch.as_tensor(np.asarray(value))
    return made.to(torch.promote_types(made.dtype, dtype)) if made.is_floating_point() else made


class ImagesOnce:
    """An image processor that returns tensors, and processes the images of a prompt once.

    TRL requests no type, but some processors count image tokens with methods of tensors.

    Args:
        inner: The image processor of the model.
        known: Cache of its outputs, changed in place.
        images: Key that identifies the images; empty to cache nothing.
    """

    def __init__(self, inner: Any, known: dict[Hashable, BatchFeature], images: Hashable):
        self._inner, self._known, self._images = inner, known, images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *args, **kwargs) -> BatchFeature:
        """Process images, or return a copy of what is known of them."""
        options = {"return_tensors": "pt", **kwargs}
        if not self._images:
            return self._inner(*args, **options)
        if self._images not in self._known:
            self._known[self._images] = self._inner(*args, **options)
        # Processors pop entries from the output, so return a copy.
        return BatchFeature(data=dict(self._known[self._images]))
