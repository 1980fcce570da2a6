"""Find rows with the same question and images by their hashes."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vantage.questions.schema import IMAGE, Question, words

# Punctuation and quotation marks; NFKC has already normalized full-width forms. Marks between
# digits are kept, as in 1.5, and so is "!" after a digit, the factorial.
QUOTES = "'\"`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
SENTENCE = re.compile(
    rf"(?<!\d)[.,;:?!\u3001\u3002{QUOTES}](?!\d)|(?<=\d)[.,;:?\u3001\u3002{QUOTES}](?!\w)"
)


class Key(NamedTuple):
    """Hashes by which rows are compared.

    Attributes:
        pictures: Hash of the pixels of each image, in order.
        asked: Hash of the question with its images.
        answer: Hash of the reference answer.
    """

    pictures: tuple[bytes, ...]
    asked: bytes
    answer: bytes


@dataclass(frozen=True)
class Keys:
    """Keys of many rows, column by column; a hash is stored as two 64-bit integers.

    Attributes:
        row_Q: Row numbers.
        asked_Q2, answer_Q2: See `Key`.
        pictures: Hashes of the images of the rows that have any, by index.
    """

    row_Q: np.ndarray
    asked_Q2: np.ndarray
    answer_Q2: np.ndarray
    pictures: Mapping[int, tuple[bytes, ...]]

    @classmethod
    def of(cls, keys: Sequence[tuple[int, Key]]) -> Keys:
        """Combine (row number, key) pairs."""
        return cls(
            np.array([row for row, _ in keys], dtype=np.int64),
            _numbers(key.asked for _, key in keys),
            _numbers(key.answer for _, key in keys),
            {place: key.pictures for place, (_, key) in enumerate(keys) if key.pictures},
        )

    @classmethod
    def joined(cls, parts: Sequence[Keys]) -> Keys:
        """Concatenate parts, at least one."""
        return cls(
            np.concatenate([part.row_Q for part in parts]),
            np.concatenate([part.asked_Q2 for part in parts]),
            np.concatenate([part.answer_Q2 for part in parts]),
            moved([part.pictures for part in parts], [len(part.row_Q) for part in parts]),
        )

    def first_Q(self) -> np.ndarray:
        """For each row, the index of the first row with the same question."""
        order_Q = np.lexsort(self.asked_Q2.T)  # stable, so equal rows stay in their order
        sorted_Q2 = self.asked_Q2[order_Q]
        new_Q = np.ones(len(order_Q), dtype=bool)
        new_Q[1:] = (sorted_Q2[1:] != sorted_Q2[:-1]).any(axis=1)
        first_Q = np.empty_like(order_Q)
        first_Q[order_Q] = order_Q[new_Q][np.cumsum(new_Q) - 1]
        return first_Q


def moved(parts: Sequence[Mapping[int, Any]], lengths: Sequence[int]) -> dict[int, Any]:
    """Merge values by index, where the indices of a part start after the rows of those before."""
    starts = itertools.accumulate(lengths, initial=0)
    return {
        start + place: value
        for start, part in zip(starts, parts, strict=False)
        for place, value in part.items()
    }


@dataclass(frozen=True)
class Shared:
    """Pairs (held-out row, training row) of rows that have something in common.

    Attributes:
        both: Pairs with the same words and images.
        pictures: Pairs with a common image but different words.
    """

    both: list[tuple[int, int]]
    pictures: list[tuple[int, int]]


@dataclass(frozen=True)
class Repeats:
    """Pairs (row, earlier row) with the same question.

    Attributes:
        same: Pairs with the same answer.
        contradicting: Pairs with different answers.
    """

    same: list[tuple[int, int]]
    contradicting: list[tuple[int, int]]


def key(question: Question, opened: Sequence[Image.Image], answer: str) -> Key:
    """Compute the key of a row.

    Args:
        question: The original question, without a template.
        opened: All its images as stored, in RGB.
        answer: The reference answer; empty without one.
    """
    said = normalised(" ".join(words(question)))
    seen = tuple(map(pixels, opened))
    return Key(seen, digest(*seen, said.encode()), digest(answer.strip().encode()))


def normalised(text: str) -> str:
    """Normalize a text: no case, punctuation, extra white space or `<image>`."""
    plain = unicodedata.normalize("NFKC", text.replace(IMAGE, " ")).casefold()
    return " ".join(SENTENCE.sub(" ", plain).split())


def pixels(image: Image.Image) -> bytes:
    """Hash the pixels of an image, independent of the file format."""
    size = f"{image.width}x{image.height}:".encode()
    return digest(size, image.convert("RGB").tobytes())


def digest(*parts: bytes) -> bytes:
    """The 16-byte BLAKE2b hash of some bytes."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(part)
    return hashed.digest()


def _numbers(hashes: Iterable[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, 2)


def shared(train: Keys, held_out: Keys) -> Shared:
    """Find rows of a held-out data set that are also training rows or share their images."""
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
    """Find rows with the same question as an earlier row."""
    first_Q = keys.first_Q()
    again = np.flatnonzero(first_Q != np.arange(len(first_Q)))
    equal = (keys.answer_Q2[again] == keys.answer_Q2[first_Q[again]]).all(axis=1)
    rows, firsts = keys.row_Q[again].tolist(), keys.row_Q[first_Q[again]].tolist()
    pairs = [*zip(rows, firsts, equal.tolist(), strict=True)]
    return Repeats(
        [(row, first) for row, first, same in pairs if same],
        [(row, first) for row, first, same in pairs if not same],
    )
