"""Pictures that a model's processor cannot take, told by their size before a run begins.

What a processor refuses depends on the size alone: Qwen's want the longer side to be less than
200 times the shorter one, Pixtral's scale the shorter side of a long picture to nothing.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image

from vantage.errors import InputError
from vantage.questions.pixels import Bounds

# Every processor takes pictures of other shapes; trying all of them would take minutes.
LONG = 8  # times the shorter side
SMALL = 32  # pixels of the shorter side
PLAIN = (224, 224)


class Acceptance:
    """Whether a processor takes a picture.

    Args:
        encode: makes the inputs of a model of a picture, or raises whatever a processor does.
        bounds: pixels of a picture; it is scaled into them before.
    """

    def __init__(self, encode: Callable[[Image.Image], Any], bounds: Bounds | None = None):
        self.encode, self.bounds = encode, bounds or Bounds()
        self.refusals: dict[tuple[int, int], str | None] = {}

    def check(self, width: int, height: int) -> None:
        """Refuse a picture of a size that the processor cannot take.

        Raises:
            InputError: says what the processor does.
        """
        size = self.bounds.sized(width, height)
        if min(size) >= SMALL and max(size) <= LONG * min(size):
            return
        if size not in self.refusals:
            self.refusals[size] = self._refusal(size)
        refusal = self.refusals[size]
        if refusal is not None:
            raise InputError(
                f"a picture of {width} x {height} pixels, which the model's processor "
                f"cannot take: {refusal}"
            )

    def _refusal(self, size: tuple[int, int]) -> str | None:
        """What the processor says to a picture of a size; None where it takes none at all."""
        refusal = self._said(size)
        return None if refusal is None or self._said(PLAIN) is not None else refusal

    def _said(self, size: tuple[int, int]) -> str | None:
        torch = sys.modules.get("torch")
        if torch is not None and multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # threads do not survive a fork
        try:
            self.encode(Image.new("RGB", size, "white"))
        except Exception as error:  # whatever a processor raises
            return f"{type(error).__name__}: {error}"[:300]
        return None


def acceptance(
    processor: Any, bounds: Bounds | None = None, **template_options: Any
) -> Acceptance | None:
    """What a processor takes; None of a tokenizer, which takes no pictures."""
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
