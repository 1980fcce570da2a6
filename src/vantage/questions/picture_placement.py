"""Place images that a text refers to by number at their first mention."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from vantage.questions.pictures import Picture
from vantage.questions.schema import IMAGE, Question, with_text

NUMBERED = re.compile(r"<\|?(?:image|img)[\s_-]*(\d+)\|?>", re.I)
# Image placeholders of specific models and tools.
TOKENS = re.compile(
    r"<\|vision_start\|>(?:<\|image_pad\|>)*<\|vision_end\|>|<\|(?:image_pad|image|img)\|>"
    r"|<image_?(?:placeholder|token|here)>|<start_of_image>|<img>(?![^<\n]*</img>)|<image>"
    r"|\[(?:image|img)\]",
    re.I,
)


def numbered(texts: Sequence[str], known: Sequence[int]) -> tuple[list[str], tuple[int, ...]]:
    """Replace numbered placeholders such as <image1> or <image 1> with `<image>`.

    The first mention of an image becomes its placeholder, and later mentions become "image 1".
    Images that are never mentioned go to the front.

    Args:
        texts: Texts in order.
        known: Numbers of the existing images.

    Returns:
        The texts, and the image numbers in the order of their placeholders.
    """
    placed: list[int] = []

    def mention(found: re.Match[str]) -> str:
        number = int(found[1])
        if number not in known or number in placed:
            return f"image {number}"
        placed.append(number)
        return IMAGE

    first, *others = [NUMBERED.sub(mention, text) for text in texts]
    left = [number for number in known if number not in placed]
    return [IMAGE * len(left) + first, *others], (*left, *placed)


def place(text: str, pictures: Mapping[int, Picture]) -> Question:
    """Make a question from a text that refers to its images by number; see `numbered`."""
    if IMAGE in text:
        return with_text(Question("", tuple(pictures.values())), text)
    (text,), order = numbered([text], list(pictures))
    return with_text(Question("", tuple(pictures[number] for number in order)), text)
