"""The size of images."""

import math
from dataclasses import dataclass

from PIL.Image import Image, Resampling


@dataclass(frozen=True)
class Bounds:
    """Least and most pixels of an image, as a step of a picture; None for no bound."""

    least: int | None = None
    most: int | None = None

    def __call__(self, image: Image) -> Image:
        """The image, scaled into the bounds."""
        return fit(image, self.least, self.most)


def fit(image: Image, least: int | None, most: int | None) -> Image:
    """The image with at least `least` and at most `most` pixels, its shape kept.

    Done before anything sees the image, so that every processor and every sampler gets the
    same picture, however it sizes images itself.

    Args:
        image: any image.
        least: smaller ones are scaled up; None for no bound.
        most: larger ones are scaled down; None for no bound.
    """
    pixels = image.width * image.height
    if least is not None and pixels < least:
        scale = math.sqrt(least / pixels)
        return _resized(image, math.ceil(image.width * scale), math.ceil(image.height * scale))
    if most is not None and pixels > most:
        scale = math.sqrt(most / pixels)
        return _resized(image, int(image.width * scale), int(image.height * scale))
    return image


def _resized(image: Image, width: int, height: int) -> Image:
    return image.resize((max(1, width), max(1, height)), Resampling.BICUBIC)
