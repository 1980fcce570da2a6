"""Image transforms that keep the answer, each with a note that says exactly what was done.

Share-GRPO's online transforms, https://arxiv.org/abs/2505.16673, appendix.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Transform:
    """A change of an image.

    Attributes:
        note: what the prompt says about it.
        apply: (RGB image, random generator) -> image.
    """

    note: str
    apply: Callable[[Image.Image, np.random.Generator], Image.Image]


def _turn(image: Image.Image, rng: np.random.Generator, *, how: Image.Transpose) -> Image.Image:
    return image.transpose(how)


def _noise(image: Image.Image, rng: np.random.Generator, *, sigma: float) -> Image.Image:
    """Gaussian noise; sigma in grey levels of 255."""
    level_HWC = np.asarray(image.convert("RGB"), dtype=np.float64)
    noisy_HWC = np.rint(level_HWC + rng.normal(scale=sigma, size=level_HWC.shape))
    return Image.fromarray(noisy_HWC.clip(0, 255).astype(np.uint8))


def _turned(how: Image.Transpose, words: str) -> Transform:
    note = f"The image was turned {words}; turn it back in your mind."
    return Transform(note, functools.partial(_turn, how=how))


def _noisy(sigma: float) -> Transform:
    return Transform("Noise was added to the image.", functools.partial(_noise, sigma=sigma))


# PIL counts its turns counter-clockwise.
TRANSFORMS = {
    "clockwise": _turned(Image.Transpose.ROTATE_270, "90 degrees clockwise"),
    "counter-clockwise": _turned(Image.Transpose.ROTATE_90, "90 degrees counter-clockwise"),
    "upside-down": _turned(Image.Transpose.ROTATE_180, "upside down (180 degrees)"),
    "noise-10": _noisy(10),
    "noise-25": _noisy(25),
    "noise-50": _noisy(50),
}
