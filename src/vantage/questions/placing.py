"""Pictures that a text mentions by number, put where it mentions them first."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vantage.questions.pictures import Picture
from vantage.questions.schema import IMAGE, Question, with_text

NUMBERED = re.compile(r"<image[\s_]*(\d+)>")


def place(text: str, pictures: Mapping[int, Picture]) -> Question:
    """A question whose text mentions its pictures by number, as <image1> or <image 1>.

    The first mention places a picture, later ones name it; pictures without one stand first.
    """
    placed: list[int] = []

    def mention(found: re.Match[str]) -> str:
        number = int(found[1])
        if number not in pictures or number in placed:
            return f"image {number}"
        placed.append(number)
        return IMAGE

    if IMAGE in text:
        return with_text(Question("", tuple(pictures.values())), text)
    text = NUMBERED.sub(mention, text)
    order = [number for number in pictures if number not in placed]
    images = tuple(pictures[number] for number in [*order, *placed])
    return with_text(Question("", images), IMAGE * len(order) + text)
