"""Pictures that a text mentions by number, put where it mentions them first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from vantage.questions.pictures import Picture
from vantage.questions.schema import IMAGE, Question, with_text

NUMBERED = re.compile(r"<\|?(?:image|img)[\s_-]*(\d+)\|?>", re.I)
# What stands for a picture in texts that were written for one model or tool.
TOKENS = re.compile(
    r"<\|vision_start\|>(?:<\|image_pad\|>)*<\|vision_end\|>|<\|(?:image_pad|image|img)\|>"
    r"|<image_?(?:placeholder|token|here)>|<start_of_image>|<img>(?![^<\n]*</img>)|<image>"
    r"|\[(?:image|img)\]",
    re.I,
)


def numbered(texts: Sequence[str], known: Sequence[int]) -> tuple[list[str], tuple[int, ...]]:
    """Texts that mention pictures by number, as <image1> or <image 1>, with `<image>` instead.

    The first mention places a picture, later ones name it; pictures without one stand first.

    Args:
        texts: one after the other.
        known: numbers of the pictures that there are.

    Returns:
        The texts, and the numbers in the order of their places.
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
    """A question whose text mentions its pictures by number; see `numbered`."""
    if IMAGE in text:
        return with_text(Question("", tuple(pictures.values())), text)
    (text,), order = numbered([text], list(pictures))
    return with_text(Question("", tuple(pictures[number] for number in order)), text)
