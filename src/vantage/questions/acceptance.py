"""Find images that a model's processor rejects before a run starts.

Processors reject images by size alone. Qwen's require an aspect ratio below 200. Pixtral's scale
the shorter side of a very long image to zero.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image

from vantage.errors import InputError
from vantage.questions.pixels import Bounds

# All processors accept images within these limits, so only others are tried, which saves minutes.
LONG = 8  # aspect ratio
SMALL = 32  # shorter side, in pixels
PLAIN = (224, 224)


class Acceptance:
    """Checks whether a processor accepts images of a given size.

    Args:
        encode: Makes model inputs from an image, or raises the processor's error.
        bounds: Limits on the pixels of an image, to which images are scaled first.
    """

    def __init__(self, encode: Callable[[Image.Image], Any], bounds: Bounds | None = None):
        self.encode, self.bounds = encode, bounds or Bounds()
        self.refusals: dict[tuple[int, int], str | None] = {}

    def check(self, width: int, height: int) -> None:
        """Reject an image size that the processor does not accept.

        Args:
            width: Width in pixels.
            height: Height in pixels.

        Raises:
            InputError: Quotes the processor's error.
        """
        size = self.bounds.sized(width, height)
        if min(size) >= SMALL and max(size) <= LONG * min(size):
            return
        if size not in self.refusals:
            self.refusals[size] = self._refusal(size)
        refusal = self.refusals[size]
        if refusal is not None:
            raise InputError(
                f"an image of {width} x {height} pixels, which the model's processor "
                f"rejects: {refusal}"
            )

    def _refusal(self, size: tuple[int, int]) -> str | None:
        """The processor's error for a size; None if it accepts it or rejects even a plain image."""
        refusal = self._said(size)
        return None if refusal is None or self._said(PLAIN) is not None else refusal

    def _said(self, size: tuple[int, int]) -> str | None:
        torch = sys.modules.get("torch")
        if torch is not None and multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # the thread pool does not survive a fork
        try:
            self.encode(Image.new("RGB", size, "white"))
        except Exception as error:  # processors raise many types
            return f"{type(error).__name__}: {error}"[:300]
        return None


def acceptance(
    processor: Any, bounds: Bounds | None = None, **template_options: Any
) -> Acceptance | None:
    """Make the `Acceptance` of a processor; None for a tokenizer, which takes no images."""
    if not hasattr(processor, "image_processor"):
        return None

    def encode(image: Image.Image) -> Any:
        parts = [{"type": "image", "image": image}, {"type": "text", "text": "."}]
        return processor.apply_chat_template(
            [{"role": "user", "content": parts}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **template_options,
        )

    return Acceptance(encode, bounds)
