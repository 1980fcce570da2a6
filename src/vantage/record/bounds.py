"""Limits of the texts and images in a record, which bound its size."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vantage.errors import check_between
from vantage.questions.pictures import Picture
from vantage.questions.pixels import fit

LONGEST_SIDE = 4096  # maximum side of an image; the limit of WebP is 16,383
LOSSLESS = 128 * 128  # smaller images are often drawings or digits, which lossy WebP blurs
MOST = 10**9  # upper limit of every setting


@dataclass(frozen=True)
class Keep:
    """Limits of the stored texts and images, like `run.record` of a configuration.

    Attributes:
        rollouts: Rollouts of a batch whose texts, prompts and images are kept.
        characters: Maximum length of a text; longer ones lose their middle.
        pixels: Maximum size of an image; larger ones are scaled down.

    Raises:
        ConfigError: If a value is out of range.
    """

    rollouts: int = 256
    characters: int = 20_000
    pixels: int = 512 * 512

    def __post_init__(self):
        check_between("rollouts", self.rollouts, 0, MOST)
        check_between("characters", self.characters, 100, MOST)
        check_between("pixels", self.pixels, 1, MOST)


def kept(row_N: np.ndarray, rollouts: int) -> np.ndarray:
    """Choose the rollouts that keep their texts: whole questions, the lowest digests first.

    Args:
        row_N: Row of each rollout's question in the data.
        rollouts: Maximum number of rollouts; 0 keeps none, else the first question is always kept.

    Returns:
        A boolean mask of length N.
    """
    if not rollouts:
        return np.zeros(len(row_N), dtype=bool)
    questions, count_Q = np.unique(row_N, return_counts=True)
    # By digest rather than by row, so that every run keeps the same, scattered questions.
    order = sorted(range(len(questions)), key=lambda q: digest(int(questions[q])))
    total_Q = np.cumsum(count_Q[order])
    fitting = np.flatnonzero(total_Q <= rollouts)
    chosen = order[: max(1, len(fitting))]
    return np.isin(row_N, questions[chosen])


def shortened(text: str, characters: int, where: str = "in the record") -> str:
    """Cut the middle out of a text longer than `characters`, and escape what UTF-8 cannot encode.

    A note in its place states how many characters are missing and `where`.
    """
    left_out = len(text) - characters
    if left_out > 0:
        half = characters // 2
        said = f"\n[... {left_out:,} characters are not {where} ...]\n"
        text = text[:half] + said + text[len(text) - (characters - half) :]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def content_digest(picture: Picture) -> str:
    """Return the digest of an image as stored in the data, before any transform."""
    source = picture.source
    if isinstance(source, Image.Image):
        shape = f"{source.mode} {source.size}".encode()
        return hashlib.sha256(shape + source.tobytes()).hexdigest()[:40]
    return hashlib.sha256(picture.encoded()).hexdigest()[:40]


def encoded(picture: Picture, pixels: int) -> bytes:
    """Encode an image, before any transform, as WebP with at most `pixels` pixels.

    Raises:
        InputError: If the image cannot be opened.
    """
    image = fit(Picture(picture.source).open(), None, pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    stream = io.BytesIO()
    if image.width * image.height <= LOSSLESS:
        image.save(stream, "webp", lossless=True, quality=50, method=2)
    else:
        image.save(stream, "webp", quality=85, method=2)
    return stream.getvalue()


def digest(row: int) -> bytes:
    """Return the sort key of a question's row, which is the same in every batch and run."""
    return hashlib.blake2b(str(row).encode(), digest_size=8).digest()
