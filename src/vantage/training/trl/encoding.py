"""Prompts as a model takes them: tokens, and the pixels of their images."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin

PER_TOKEN_FIELDS = ("token_type_ids", "mm_token_type_ids")


@dataclass
class Encoding:
    """A prompt as the model takes it.

    Attributes:
        prompt: a text, or a conversation with its images opened.
        ids: its tokens, image tokens included.
        images: its images.
        fields: what else the processor makes of it (pixels, grids, token types).
        written: its tokens as the chat template writes them, one placeholder a picture, for an
            engine that expands placeholders by itself; None where none does.
    """

    prompt: str | list[dict[str, Any]]
    ids: list[int]
    images: list[Any]
    fields: dict[str, Any]
    written: list[int] | None = None


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
        else torch.as_tensor(np.asarray(value))
        for name, value in fields.items()
    }


def tiles(rows: list[Encoding]) -> dict[str, list[int]]:
    """Tiles of each row, where images are cut into tiles that stand one after the other."""
    sizes = [len(row.fields["pixel_values"]) if row.images else 0 for row in rows]
    shape = next(row.fields["pixel_values"] for row in rows if row.images).ndim
    tiled = shape == 4 and sum(sizes) != sum(len(row.images) for row in rows)
    return {"num_tiles": sizes} if tiled else {}


class ImagesOnce:
    """What an image processor made of the images of a rollout batch; wordings share them."""

    def __init__(self) -> None:
        self._known: dict[Hashable, BatchFeature] = {}

    def clear(self) -> None:
        """Forget the images of the last batch."""
        self._known.clear()

    @contextlib.contextmanager
    def of(self, processor: Any, images: Hashable) -> Iterator[None]:
        """Within it, the processor takes what is known of these images, or keeps it.

        Args:
            processor: reads one prompt.
            images: tells the images of that prompt from others; nothing where it has none.
        """
        if not images or not isinstance(processor, ProcessorMixin):
            yield
            return
        inner = processor.image_processor
        processor.image_processor = _Remembering(inner, self._known, images)
        try:
            yield
        finally:
            processor.image_processor = inner


class _Remembering:
    """An image processor that reads the images of one prompt once."""

    def __init__(self, inner: Any, known: dict[Hashable, BatchFeature], images: Hashable):
        self._inner, self._store, self._images = inner, known, images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *args, **kwargs) -> BatchFeature:
        if self._images not in self._store:
            self._store[self._images] = self._inner(*args, **kwargs)
        # Processors take things out of what they get.
        return BatchFeature(data=dict(self._store[self._images]))
