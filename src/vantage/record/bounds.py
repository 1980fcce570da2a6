"""What of the texts and pictures of a batch is kept, so that a record stays within bounds."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from vantage.errors import check_between
from vantage.questions.pictures import Picture
from vantage.questions.pixels import fit

LONGEST_SIDE = 4096  # of a picture that is one line; WebP takes 16,383
LOSSLESS = 128 * 128  # smaller pictures are drawings or digits, which blur


MOST = 10**9  # of what a record keeps


class Limits(Protocol):
    """How much of the texts and pictures of a run is kept, as `run.record` of a configuration.

    Attributes:
        rollouts: of a batch, whose texts, prompts and pictures are kept.
        characters: of a text; the middle of a longer one is left out.
        pixels: of a picture; a larger one is scaled down.
    """

    @property
    def rollouts(self) -> int:
        """See above."""
        ...

    @property
    def characters(self) -> int:
        """See above."""
        ...

    @property
    def pixels(self) -> int:
        """See above."""
        ...


@dataclass(frozen=True)
class Keep:
    """`Limits` with the defaults of a configuration.

    Raises:
        ConfigError: a number that is out of range.
    """

    rollouts: int = 256
    characters: int = 20_000
    pixels: int = 512 * 512

    def __post_init__(self):
        check_between("rollouts", self.rollouts, 0, MOST)
        check_between("characters", self.characters, 100, MOST)
        check_between("pixels", self.pixels, 1, MOST)


def kept(row_N: np.ndarray, rollouts: int) -> np.ndarray:
    """Which rollouts keep their texts: whole questions, the lowest digests first.

    Args:
        row_N: row in the data of each rollout.
        rollouts: most rows that are kept; the first question counts whatever its size.
    """
    if not rollouts:
        return np.zeros(len(row_N), dtype=bool)
    questions, count_Q = np.unique(row_N, return_counts=True)
    order = sorted(range(len(questions)), key=lambda q: digest(int(questions[q])))
    total_Q = np.cumsum(count_Q[order])
    fitting = np.flatnonzero(total_Q <= rollouts)
    chosen = order[: max(1, len(fitting))]
    return np.isin(row_N, questions[chosen])


def shortened(text: str, characters: int, where: str = "in the record") -> str:
    """The text without the middle of a longer one, and without what UTF-8 cannot write.

    What is left out is said in its place: how many characters are not `where` it stands.
    """
    left_out = len(text) - characters
    if left_out > 0:
        half = characters // 2
        said = f"\n[... {left_out:,} characters are not {where} ...]\n"
        text = text[:half] + said + text[len(text) - (characters - half) :]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def content_digest(picture: Picture) -> str:
    """Digest of the picture as it is stored in the data, before anything is done to it."""
    source = picture.source
    if isinstance(source, Image.Image):
        shape = f"{source.mode} {source.size}".encode()
        return hashlib.sha256(shape + source.tobytes()).hexdigest()[:40]
    return hashlib.sha256(picture.encoded()).hexdigest()[:40]


def encoded(picture: Picture, pixels: int) -> bytes:
    """The picture before anything is done to it, encoded anew as WebP of at most so many pixels.

    Raises:
        InputError: it cannot be opened.
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
    """What orders the questions of which not all are kept; the same in every batch and run."""
    return hashlib.blake2b(str(row).encode(), digest_size=8).digest()
