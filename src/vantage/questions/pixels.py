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

    def sized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image of that size within the bounds."""
        return sized(width, height, self.least, self.most)


def fit(image: Image, least: int | None, most: int | None) -> Image:
    """The image with at least `least` and at most `most` pixels, its shape kept.

    Done before anything sees the image, so that every processor and every sampler gets the
    same picture, however it sizes images itself.

    Args:
        image: any image.
        least: smaller ones are scaled up; None for no bound.
        most: larger ones are scaled down; None for no bound.
    """
    size = sized(*image.size, least, most)
    return image if size == image.size else image.resize(size, Resampling.BICUBIC)


def sized(width: int, height: int, least: int | None, most: int | None) -> tuple[int, int]:
    """Width and height that `fit` gives an image of that size."""
    pixels = width * height
    if least is not None and pixels < least:
        scale = math.sqrt(least / pixels)
        return math.ceil(width * scale), math.ceil(height * scale)
    if most is not None and pixels > most:
        scale = math.sqrt(most / pixels)
        return max(1, int(width * scale)), max(1, int(height * scale))
    return width, height
