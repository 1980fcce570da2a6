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
        """Scale the image to the bounds, keeping its aspect ratio."""
        size = self.sized(*image.size)
        return image if size == image.size else image.resize(size, Resampling.BICUBIC)

    def sized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, in pixels, of an image of this size after scaling."""
        pixels = width * height
        if self.least is not None and pixels < self.least:
            scale = math.sqrt(self.least / pixels)
            return math.ceil(width * scale), math.ceil(height * scale)
        if self.most is not None and pixels > self.most:
            scale = math.sqrt(self.most / pixels)
            return max(1, int(width * scale)), max(1, int(height * scale))
        return width, height


def fit(image: Image, least: int | None, most: int | None) -> Image:
    """Scale an image to between `least` and `most` pixels, keeping its aspect ratio.

    This runs before anything else sees the image, so that every processor and every sampler gets
    the same image, however it resizes images itself.

    Args:
        image: Any image.
        least: Minimum number of pixels, reached by scaling up; None for no limit.
        most: Maximum number of pixels, reached by scaling down; None for no limit.
    """
    return Bounds(least, most)(image)
