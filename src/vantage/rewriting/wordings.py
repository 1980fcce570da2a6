"""A rewriter without a server, based on families of equivalent wordings.

A wording may have slots, as in "What is the area of {shape}?". The text that fills a slot in one
wording fills the slot of the same name in the others.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from pathlib import Path

from vantage.errors import ConfigError
from vantage.yaml_values import read

# Questions of the demo.
SUM_OF_DIGITS = (
    "What is the sum of the digits in the image?",
    "Add the digits that you see.",
    "What do the handwritten digits add up to?",
    "Find the total of all digits shown.",
    "How much do the digits in the picture make together?",
    "Read the digits and add them up.",
    "Give the sum of all digits in this picture.",
    "What total do you get when you add the digits?",
)

FAMILIES: tuple[tuple[str, ...], ...] = (
    SUM_OF_DIGITS,
    *(
        (
            f"What is the {measure} of {{shape}}?",
            f"Find the {measure} of {{shape}}.",
            f"Calculate the {measure} of {{shape}}.",
            f"Determine the {measure} of {{shape}}.",
            f"How large is the {measure} of {{shape}}?",
        )
        for measure in ("area", "perimeter", "volume", "circumference")
    ),
    (
        "How many {things} are there in the image?",
        "How many {things} are in the image?",
        "Count the {things} in the image.",
        "What is the number of {things} in the image?",
    ),
)

SLOT = re.compile(r"\{(\w+)\}")
FILLING = r"(?:[^.?!\n]|[.](?=\d))+?"
IMAGES = re.compile(r"^(?:<image>\s*)*")


def load(path: Path) -> tuple[tuple[str, ...], ...]:
    """Load families of wordings from a YAML file with a list of lists of texts.

    Raises:
        ConfigError: A missing or invalid file, or a family whose wordings have different slots.
    """
    families = read(path, "wordings")
    if not isinstance(families, list) or not families:
        raise ConfigError(f"wordings {str(path)!r}: expected a list of lists of texts")
    return tuple(_family(path, family) for family in families)


def _family(path: Path, family: object) -> tuple[str, ...]:
    texts = isinstance(family, list) and all(isinstance(text, str) for text in family)
    if not isinstance(family, list) or not texts or len(family) < 2:
        raise ConfigError(
            f"wordings {str(path)!r}: {str(family)[:80]!r}: expected a list of two or more texts"
        )
    for text in family:
        if sorted(SLOT.findall(text)) != sorted(set(SLOT.findall(family[0]))):
            raise ConfigError(
                f"wordings {str(path)!r}: {text!r} and {family[0]!r} need the same slots, each once"
            )
    return tuple(family)


def rewrites(
    question: str,
    variants: int,
    families: Sequence[Sequence[str]] = FAMILIES,
    *,
    seed: int = 0,
) -> list[str]:
    """Draw up to `variants` rewrites of a question, seeded by `seed` and the question.

    Args:
        question: Text of the question; leading image placeholders stay in front.
        variants: Maximum number of rewrites.
        families: Families of equivalent wordings; the first one with a match is used.
        seed: Seed of the draw.

    Returns:
        The rewrites; empty if no wording matches.
    """
    lead = IMAGES.match(question)[0]  # type: ignore[index]
    words = " ".join(question[len(lead) :].split())
    for family in families:
        for number, wording in enumerate(family):
            if match := _pattern(wording).fullmatch(words):
                others = [*family[:number], *family[number + 1 :]]
                rng = random.Random(f"{seed}\0{question}")
                drawn = rng.sample(others, min(variants, len(others)))
                return [lead + _filled(other, match.groupdict()) for other in drawn]
    return []


@functools.cache
def _pattern(wording: str) -> re.Pattern:
    pieces = SLOT.split(wording)  # text, slot, text, ...
    pattern = (f"(?P<{p}>{FILLING})" if n % 2 else re.escape(p) for n, p in enumerate(pieces))
    return re.compile("".join(pattern), re.I)


def _filled(wording: str, values: dict[str, str]) -> str:
    return SLOT.sub(lambda match: values[match[1]], wording)
