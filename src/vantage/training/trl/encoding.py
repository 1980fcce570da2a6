"""Prompts as a model takes them: tokens, and the pixels of their images."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin


def per_token(name: str) -> bool:
    """Whether a field of a processor has a value for every token of a prompt."""
    return name.endswith("token_type_ids")


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
        pictures: what tells its images from those of other prompts; empty without images.
    """

    prompt: str | list[dict[str, Any]]
    ids: list[int]
    images: list[Any]
    fields: dict[str, Any]
    written: list[int] | None = None
    pictures: Hashable = ()


def merge_fields(rows: list[Encoding]) -> dict[str, Any]:
    """Fields of several prompts as the processor gives them for a batch: pixels one after the
    other, or side by side where all patches are in one row; token types a list a row.
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
    """Whether the patches of all images stand side by side: their sizes add up to the row."""
    pixels, sizes = row.fields["pixel_values"], row.fields.get("target_sizes")
    return sizes is not None and len(pixels) == 1 and pixels.shape[-1] % sizes.prod(1).sum() == 0


def _shifted(rows: list[Encoding]) -> list[torch.Tensor]:
    """Numbers of the patches that make up each image token, counted over all rows; -1 is none."""
    counts = [row.fields["pixel_values"].shape[:2].numel() for row in rows]
    starts = np.cumsum([0, *counts[:-1]]).tolist()
    numbers = [row.fields["image_token_pooling"] for row in rows]
    return [torch.where(n >= 0, n + start, n) for n, start in zip(numbers, starts, strict=True)]


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    """One after the other, those with fewer images or tiles filled up with zeros."""
    shape = torch.tensor([tensor.shape[1:] for tensor in tensors]).amax(dim=0).tolist()
    wide = [tensor.new_zeros(len(tensor), *shape) for tensor in tensors]
    for room, tensor in zip(wide, tensors, strict=True):
        room[tuple(map(slice, tensor.shape))] = tensor
    return torch.cat(wide)


def per_prompt(fields: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Fields of a batch of one prompt: token types as its list, everything else as tensors, of
    the precision `dtype` where a processor rounds to less.
    """
    return {
        name: list(value[0]) if per_token(name) else _tensor(value, dtype)
        for name, value in fields.items()
    }


def _tensor(value: Any, dtype: torch.dtype) -> torch.Tensor:
    made = value if torch.is_tensor(value) else torch.as_tensor(np.asarray(value))
    return made.to(torch.promote_types(made.dtype, dtype)) if made.is_floating_point() else made


class _Tensors:
    """An image processor that gives tensors where nothing is asked for, as TRL does not.

    Some processors count image tokens by methods of tensors alone.
    """

    def __init__(self, inner: Any):
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *args, **kwargs) -> BatchFeature:
        return self._inner(*args, **{"return_tensors": "pt", **kwargs})


@contextlib.contextmanager
def as_tensors(processor: Any) -> Iterator[None]:
    """Within it, the image processor of a processor gives tensors."""
    if not isinstance(processor, ProcessorMixin):
        yield
        return
    inner = processor.image_processor
    processor.image_processor = _Tensors(inner)
    try:
        yield
    finally:
        processor.image_processor = inner


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
