"""Rows that are the same question on the same pictures, told by hashes alone."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from vantage.questions.schema import IMAGE, Question, words

# Marks of a sentence, the full-width ones made plain before, and quotation marks. Between digits
# they mean something, and so does "!" behind one.
QUOTES = "'\"`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
SENTENCE = re.compile(
    rf"(?<!\d)[.,;:?!\u3001\u3002{QUOTES}](?!\d)|(?<=\d)[.,;:?\u3001\u3002{QUOTES}](?!\w)"
)


class Key(NamedTuple):
    """What a row is compared by.

    Attributes:
        pictures: a hash of the pixels of each picture, in order.
        text: a hash of the question's words.
        answer: a hash of the reference answer.
    """

    pictures: tuple[bytes, ...]
    text: bytes
    answer: bytes

    @property
    def asked(self) -> tuple[tuple[bytes, ...], bytes]:
        """What is asked: pictures and words."""
        return self.pictures, self.text


@dataclass(frozen=True)
class Shared:
    """Rows of a held-out set that stand among the training rows: (held-out row, training row).

    Attributes:
        both: the same words on the same pictures.
        pictures: a picture in common, with other words.
    """

    both: list[tuple[int, int]]
    pictures: list[tuple[int, int]]


@dataclass(frozen=True)
class Repeats:
    """Rows that ask what an earlier row asks: (row, earlier row).

    Attributes:
        same: with the same answer.
        contradicting: with another answer.
    """

    same: list[tuple[int, int]]
    contradicting: list[tuple[int, int]]


def key(question: Question, opened: Sequence[Image.Image], answer: str) -> Key:
    """The key of a row.

    Args:
        question: in its original words, no template around it.
        opened: all its pictures as they are stored, in RGB.
        answer: the reference answer; empty without one.
    """
    said = normalised(" ".join(words(question)))
    return Key(tuple(map(pixels, opened)), digest(said.encode()), digest(answer.strip().encode()))


def normalised(text: str) -> str:
    """The words of a text: case, white space, marks of a sentence and `<image>` left out."""
    plain = unicodedata.normalize("NFKC", text.replace(IMAGE, " ")).casefold()
    return " ".join(SENTENCE.sub(" ", plain).split())


def pixels(image: Image.Image) -> bytes:
    """A hash of what is seen; another encoding of the same pixels has the same."""
    size = f"{image.width}x{image.height}:".encode()
    return digest(size, image.convert("RGB").tobytes())


def digest(*parts: bytes) -> bytes:
    """Sixteen bytes of BLAKE2."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(part)
    return hashed.digest()


def shared(train: Sequence[tuple[int, Key]], held_out: Sequence[tuple[int, Key]]) -> Shared:
    """Rows of the held-out set that the model would be trained on.

    Args:
        train, held_out: row number and key of each row.
    """
    asked: dict[tuple, int] = {}
    pictured: dict[bytes, int] = {}
    for row, known in train:
        asked.setdefault(known.asked, row)
        for picture in known.pictures:
            pictured.setdefault(picture, row)
    both = [(row, asked[k.asked]) for row, k in held_out if k.asked in asked]
    pictures = []
    for row, known in held_out:
        common = [pictured[picture] for picture in known.pictures if picture in pictured]
        if common and known.asked not in asked:
            pictures.append((row, common[0]))
    return Shared(both, pictures)


def repeats(rows: Sequence[tuple[int, Key]]) -> Repeats:
    """Rows that ask what an earlier one asks."""
    first: dict[tuple, tuple[int, bytes]] = {}
    same: list[tuple[int, int]] = []
    contradicting: list[tuple[int, int]] = []
    for row, known in rows:
        earlier, answer = first.setdefault(known.asked, (row, known.answer))
        if earlier != row:
            (same if answer == known.answer else contradicting).append((row, earlier))
    return Repeats(same, contradicting)
