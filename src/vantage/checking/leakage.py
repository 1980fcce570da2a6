"""Rows that ask the same question about the same pictures, found by hashes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from vantage.questions.schema import IMAGE, Question, words

# Punctuation and quotation marks; NFKC has replaced full-width forms before. Marks between digits
# have a meaning, and so does "!" after a digit.
QUOTES = "'\"`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
SENTENCE = re.compile(
    rf"(?<!\d)[.,;:?!\u3001\u3002{QUOTES}](?!\d)|(?<=\d)[.,;:?\u3001\u3002{QUOTES}](?!\w)"
)


class Key(NamedTuple):
    """Hashes by which rows are compared.

    Attributes:
        pictures: a hash of the pixels of each picture, in order.
        asked: a hash of the question, pictures and words.
        answer: a hash of the reference answer.
    """

    pictures: tuple[bytes, ...]
    asked: bytes
    answer: bytes


@dataclass(frozen=True)
class Keys:
    """Keys of many rows, column by column; a hash is two integers of 64 bits.

    Attributes:
        row_Q: number of each row.
        asked_Q2, answer_Q2: see `Key`.
        pictures: of the rows that have some, by their index.
    """

    row_Q: np.ndarray
    asked_Q2: np.ndarray
    answer_Q2: np.ndarray
    pictures: Mapping[int, tuple[bytes, ...]]

    @classmethod
    def of(cls, keys: Sequence[tuple[int, Key]]) -> Keys:
        """Combine keys of rows, given with the numbers of the rows."""
        return cls(
            np.array([row for row, _ in keys], dtype=np.int64),
            _numbers(key.asked for _, key in keys),
            _numbers(key.answer for _, key in keys),
            {place: key.pictures for place, (_, key) in enumerate(keys) if key.pictures},
        )

    @classmethod
    def joined(cls, parts: Sequence[Keys]) -> Keys:
        """Concatenate parts."""
        starts = np.cumsum([0, *(len(part.row_Q) for part in parts)]).tolist()
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(part.row_Q for part in parts)]),
            np.concatenate([_numbers(()), *(part.asked_Q2 for part in parts)]),
            np.concatenate([_numbers(()), *(part.answer_Q2 for part in parts)]),
            {
                start + place: pictures
                for start, part in zip(starts, parts, strict=False)
                for place, pictures in part.pictures.items()
            },
        )

    def first_Q(self) -> np.ndarray:
        """Index of the first row that asks the same question, for each row."""
        order_Q = np.lexsort(self.asked_Q2.T)  # stable
        sorted_Q2 = self.asked_Q2[order_Q]
        new_Q = np.ones(len(order_Q), dtype=bool)
        new_Q[1:] = (sorted_Q2[1:] != sorted_Q2[:-1]).any(axis=1)
        first_Q = np.empty_like(order_Q)
        first_Q[order_Q] = order_Q[new_Q][np.cumsum(new_Q) - 1]
        return first_Q


@dataclass(frozen=True)
class Shared:
    """Rows of a held-out set that are also training rows: (held-out row, training row).

    Attributes:
        both: with the same words and pictures.
        pictures: with a picture in common but other words.
    """

    both: list[tuple[int, int]]
    pictures: list[tuple[int, int]]


@dataclass(frozen=True)
class Repeats:
    """Rows that ask the question of an earlier row: (row, earlier row).

    Attributes:
        same: with the same answer.
        contradicting: with another answer.
    """

    same: list[tuple[int, int]]
    contradicting: list[tuple[int, int]]


def key(question: Question, opened: Sequence[Image.Image], answer: str) -> Key:
    """The key of a row.

    Args:
        question: in its original words, without a template.
        opened: all its pictures as they are stored, in RGB.
        answer: the reference answer; empty without one.
    """
    said = normalised(" ".join(words(question)))
    seen = tuple(map(pixels, opened))
    return Key(seen, digest(*seen, said.encode()), digest(answer.strip().encode()))


def normalised(text: str) -> str:
    """A text without case, extra white space, punctuation and `<image>`."""
    plain = unicodedata.normalize("NFKC", text.replace(IMAGE, " ")).casefold()
    return " ".join(SENTENCE.sub(" ", plain).split())


def pixels(image: Image.Image) -> bytes:
    """A hash of the pixels, whatever the encoding of the file."""
    size = f"{image.width}x{image.height}:".encode()
    return digest(size, image.convert("RGB").tobytes())


def digest(*parts: bytes) -> bytes:
    """A BLAKE2 hash of 16 bytes."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(part)
    return hashed.digest()


def _numbers(hashes: Iterable[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, 2)


def shared(train: Keys, held_out: Keys) -> Shared:
    """Rows of the held-out set that are also training rows."""
    trained = len(train.row_Q)
    first_H = Keys.joined([train, held_out]).first_Q()[trained:]
    asked_H = first_H < trained
    rows_H = held_out.row_Q
    both = [
        (int(rows_H[place]), int(train.row_Q[first_H[place]])) for place in np.flatnonzero(asked_H)
    ]
    pictured: dict[bytes, int] = {}
    for place, shown in train.pictures.items():
        for picture in shown:
            pictured.setdefault(picture, int(train.row_Q[place]))
    pictures = []
    for place, shown in held_out.pictures.items():
        common = [pictured[picture] for picture in shown if picture in pictured]
        if common and not asked_H[place]:
            pictures.append((int(rows_H[place]), common[0]))
    return Shared(both, pictures)


def repeats(keys: Keys) -> Repeats:
    """Rows that ask the question of an earlier row."""
    first_Q = keys.first_Q()
    again = np.flatnonzero(first_Q != np.arange(len(first_Q)))
    equal = (keys.answer_Q2[again] == keys.answer_Q2[first_Q[again]]).all(axis=1)
    rows, firsts = keys.row_Q[again].tolist(), keys.row_Q[first_Q[again]].tolist()
    pairs = [*zip(rows, firsts, equal.tolist(), strict=True)]
    return Repeats(
        [(row, first) for row, first, same in pairs if same],
        [(row, first) for row, first, same in pairs if not same],
    )
