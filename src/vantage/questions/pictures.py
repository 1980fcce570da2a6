"""Pictures as references: where the bytes are and what will be done to them, opened when needed."""

from __future__ import annotations

import hashlib
import io
import os
import reprlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from vantage.errors import InputError

# A larger picture is refused before it is decoded: 64 million pixels are 192 MB in RGB.
MOST_PIXELS = 64_000_000
# A larger file is refused before it is read: the largest picture without compression has less.
MOST_BYTES = 256_000_000
# Raster formats alone: others of PIL start programs (EPS), open further files, or hold a picture
# larger than they say (ICO).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

Step = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Picture:
    """A reference to a picture. Equal ones are the same picture, without a look at it.

    Attributes:
        source: its encoded bytes or a view of them, the path of its file, or an image in
            memory.
        steps: what is done to it once it is opened, in this order.
    """

    source: bytes | memoryview | Path | Image.Image
    steps: tuple[Step, ...] = ()

    def __hash__(self) -> int:
        """Of a part of the picture: equal ones have the same, without a look at all of it."""
        if isinstance(self.source, Image.Image):
            return hash((self.source.size, self.source.mode, self.steps))
        if isinstance(self.source, Path):
            return hash((self.source, self.steps))
        return hash((len(self.source), bytes(self.source[-64:]), self.steps))

    def then(self, *steps: Step) -> Picture:
        """The picture with more to be done to it."""
        return replace(self, steps=self.steps + steps)

    def open(self) -> Image.Image:
        """The picture in RGB, transparent parts white, upright as its EXIF data say.

        Raises:
            InputError: no such file, no picture, a broken one, or one of more than
                `MOST_PIXELS` pixels.
        """
        try:
            image = _rgb(ImageOps.exif_transpose(self.unread()))
        except InputError:
            raise
        except Exception as error:  # whatever a decoder raises on broken bytes
            raise InputError(f"a picture that cannot be decoded: {error}") from error
        for step in self.steps:
            image = step(image)
        return image

    def unread(self) -> Image.Image:
        """The picture as it is stored, before any step; pixels are read at the first use.

        Raises:
            InputError: no such file, no picture, or too large a one.
        """
        if isinstance(self.source, Image.Image):
            return self.source
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the limit below is a lower one
                image = Image.open(io.BytesIO(self.encoded()), formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"a picture of {image.width} x {image.height} pixels, "
                    f"more than {MOST_PIXELS:,}: scale it down"
                )
            return image
        except UnidentifiedImageError as error:
            known = ", ".join(FORMATS)
            raise InputError(f"no picture in a known format ({known}): {self!s}") from error
        except Image.DecompressionBombError as error:
            raise InputError(
                f"a picture of more than {MOST_PIXELS:,} pixels: scale it down"
            ) from error
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"a picture that cannot be read: {error}") from error

    def encoded(self) -> bytes:
        """Its bytes before any step, as they are stored; PNG for an image in memory.

        Raises:
            InputError: no such file, one that cannot be read, or of more than `MOST_BYTES`.
        """
        if isinstance(self.source, bytes | memoryview):
            return bytes(self.source)
        if isinstance(self.source, Image.Image):
            stream = io.BytesIO()
            self.source.save(stream, "png")
            return stream.getvalue()
        return _content(self.source)

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes before any step."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def __str__(self) -> str:
        if isinstance(self.source, bytes | memoryview):
            return f"{len(self.source)} bytes beginning with {bytes(self.source[:12])!r}"
        return str(self.source)


def picture(value: Any, root: Path | None = None) -> Picture:
    """The picture behind a value of a data set.

    Args:
        value: encoded bytes, {"bytes": ..., "path": ...}, a path, or an image in memory.
        root: where relative paths start and which no path may leave; None takes a path as
            it is.

    Raises:
        InputError: something else, an empty value, or a path that leaves `root`.
    """
    if isinstance(value, Picture):
        return value
    if isinstance(value, Image.Image):
        return Picture(value)
    found = value
    if isinstance(value, Mapping):
        found = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(found, bytes | memoryview) and len(found):
        return Picture(found)
    if isinstance(found, str) and found:
        return Picture(_located(found, root))
    shown = reprlib.repr(value)[:80]
    raise InputError(f"{shown!r} is no picture: expected bytes, a path, or an image")


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size if path.is_file() else -1
        if 0 <= size <= MOST_BYTES:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # a name too long or no UTF-8, no permission
        why = getattr(error, "strerror", None) or error
        raise InputError(f"no picture that can be read: {str(path)[:200]!r}: {why}") from error
    if size < 0:
        raise InputError(f"no such picture: {str(path)[:200]!r}")
    raise InputError(f"a picture of {size:,} bytes, more than {MOST_BYTES:,}: scale it down")


def _located(path: str, root: Path | None) -> Path:
    if "\0" in path or "://" in path:
        raise InputError(f"{path[:80]!r} is no path: pictures are files in the data directory")
    if root is None:
        return Path(path)
    base = Path(os.path.normpath(root.absolute()))
    found = Path(os.path.normpath(base / path))  # links inside are the user's own
    if not found.is_relative_to(base):
        raise InputError(
            f"path {path[:200]!r} leaves the directory {str(base)!r}: "
            "give the directory of the pictures as image_root"
        )
    return found


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel, which PIL would cut off at 255
        image = image if image.mode in ("I", "I;16") else image.convert("I")
        return image.point(lambda level: level / 257).convert("L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image.convert("RGB")
