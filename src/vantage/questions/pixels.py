"""Image sizes in pixels."""

import math
from dataclasses import dataclass

from PIL.Image import Image, Resampling


@dataclass(frozen=True)
class Bounds:
    """A processing step that limits the number of pixels of an image; None means no limit.

    Attributes:
        least: Minimum number of pixels (width x height).
        most: Maximum number of pixels.
    """

    least: int | None = None
    most: int | None = None

    def __call__(self, image: Image) -> Image:
        """Scale the image to the bounds."""
        return fit(image, self.least, self.most)

    def sized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, in pixels, of an image of this size after scaling."""
        return sized(width, height, self.least, self.most)


def fit(image: Image, least: int | None, most: int | None) -> Image:
    """Scale an image to between `least` and `most` pixels, keeping its aspect ratio.

    This runs before anything else sees the image, so that every processor and every sampler gets
    the same image, however it resizes images itself.

    Args:
        image: Any image.
        least: Minimum number of pixels, reached by scaling up; None for no limit.
        most: Maximum number of pixels, reached by scaling down; None for no limit.
    """
    size = sized(*image.size, least, most)
    return image if size == image.size else image.resize(size, Resampling.BICUBIC)


def sized(width: int, height: int, least: int | None, most: int | None) -> tuple[int, int]:
    """Width and height, in pixels, that `fit` gives to an image of this size."""
    pixels = width * height
    if least is not None and pixels < least:
        scale = math.sqrt(least / pixels)
        return math.ceil(width * scale), math.ceil(height * scale)
    if most is not None and pixels > most:
        scale = math.sqrt(most / pixels)
        return max(1, int(width * scale)), max(1, int(height * scale))
    return width, height
