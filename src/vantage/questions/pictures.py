"""Pictures as references: where the bytes are and what will be done to them, opened when needed."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import io
import os
import re
import reprlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from PIL import Image, ImageOps, UnidentifiedImageError

from vantage import files
from vantage.errors import InputError

# A larger picture is refused before it is decoded: 64 million pixels are 192 MB in RGB.
MOST_PIXELS = 64_000_000
# A larger file is refused before it is read: the largest picture without compression has less.
MOST_BYTES = 256_000_000
# Raster formats alone: others of PIL start programs (EPS), open further files, or hold a picture
# larger than they say (ICO).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

# How encoded pictures begin, those that cannot be read too; and how they do as base64.
HEADS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0{4}|II\*\0|MM\0\*|P[1-6]\s"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp(?:avif|avis|heic|heix|mif1|msf1)",
    re.DOTALL,
)
VIDEO_HEADS = re.compile(rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ", re.DOTALL)
BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]{12,}(={0,2}\s*)")
WEB = str.maketrans("-_", "+/")  # base64 as it is written in addresses
DATA_URI = re.compile(r"\s*data:[^,\s]{0,200},", re.I)
HEAD = 256  # characters of a text that tell whether it is base64
LEAST_ENCODED = 64  # characters: less may be a name without an ending
# Where a picture stands in an object, the first one that is there.
PLACES = ("bytes", "image", "image_url", "url", "base64", "path")

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
    """The picture behind a value of a data set. Nothing is fetched.

    Args:
        value: encoded bytes, base64 or a data URI, a path, an image in memory, or an object
            that holds one of them, as {"bytes": ..., "path": ...} or {"url": ...}.
        root: where relative paths start and which no path may leave; None takes a path as
            it is.

    Raises:
        InputError: something else, an empty value, an address, or a path that leaves `root`.
    """
    if isinstance(value, Picture):
        return value
    found = inside(value)
    if isinstance(found, Image.Image):
        return Picture(found)
    if isinstance(found, bytes | memoryview) and len(found):
        text = bytes(found[:HEAD]).decode("ascii", "replace") if looks(found) is None else ""
        return Picture(_decoded(bytes(found).decode("ascii")) if is_encoded(text) else found)
    if isinstance(found, str) and found:
        path = None if is_encoded(found) else located(found, root)
        if path is None or (_seems_encoded(found) and _first([path]) is None):
            return Picture(_decoded(found))
        return Picture(path)
    shown = reprlib.repr(value)[:80]
    raise InputError(f"{shown!r} is no picture: expected bytes, base64, a path, or an image")


def inside(value: Any) -> Any:
    """What stands in the place of an object that is for a picture; any other value as it is."""
    if not isinstance(value, Mapping):
        return value
    name = next((name for name in PLACES if value.get(name) is not None), None)
    found = value[name] if name else None
    return inside(found) if name in ("image", "image_url") else found  # {"image_url": {"url": ...}}


def looks(content: bytes | memoryview) -> Literal["picture", "video"] | None:
    """What encoded bytes hold, told by how they begin."""
    head = bytes(content[:32])
    if HEADS.match(head):
        return "picture"
    return "video" if VIDEO_HEADS.match(head) else None


def is_encoded(text: Any) -> bool:
    """Whether a value is a text that holds a picture in base64, or a data URI; no path is."""
    if not isinstance(text, str):
        return False
    if DATA_URI.match(text):
        return True
    if not BASE64.fullmatch(text[:HEAD]):
        return False
    head = "".join(text[:HEAD].split())[:32].rstrip("=").translate(WEB)
    return looks(base64.b64decode(head[: len(head) // 4 * 4])) == "picture"


def _seems_encoded(text: str) -> bool:
    """Whether a text that names no file is base64 of something else than a picture."""
    found = BASE64.fullmatch(text[:HEAD])
    if found is None or "." in text[-8:]:
        return False
    return "=" in found[1] or len(text) >= LEAST_ENCODED


def _decoded(text: str) -> bytes:
    coded = "".join(text.rpartition(",")[2].split())
    coded = (unquote(coded) if "%" in coded else coded).rstrip("=").translate(WEB)
    try:
        return base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"base64 that cannot be decoded: {error}") from error


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size if path.is_file() else -1
        if 0 <= size <= MOST_BYTES:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # a name too long or no UTF-8, no permission
        why = files.reason(error)
        raise InputError(f"no picture that can be read: {str(path)[:200]!r}: {why}") from error
    if size < 0:
        raise InputError(
            f"no such picture: {str(path)[:200]!r}; where they lie elsewhere than the data, "
            "give their directory as image_root"
        )
    raise InputError(f"a picture of {size:,} bytes, more than {MOST_BYTES:,}: scale it down")


def located(path: str, root: Path | None) -> Path:
    """The file that a path names: from `root`, or from here where that is inside `root`.

    Raises:
        InputError: an address, or a path or a link that leaves `root`.
    """
    if path.startswith("file://"):
        path = unquote(path.removeprefix("file://"))
    if "://" in path:
        raise InputError(
            f"{path[:80]!r} is no path: nothing is fetched; download the picture and give its path"
        )
    if "\0" in path:
        raise InputError(f"{path[:80]!r} is no path: pictures are files in the data directory")
    spellings = dict.fromkeys((path, path.replace("\\", "/")))
    if root is None:
        return _first(map(Path, spellings)) or Path(path)
    base = Path(os.path.normpath(root.absolute()))
    starts = (base, Path.cwd())
    found = [Path(os.path.normpath(start / one)) for start in starts for one in spellings]
    there = _first(one for one in found if one.is_relative_to(base))
    if there is None and not found[0].is_relative_to(base):
        raise InputError(
            f"path {path[:200]!r} leaves the directory {str(base)!r}: "
            "give the directory of the pictures as image_root"
        )
    if there is not None and not stays(there, base):
        raise InputError(
            f"path {path[:200]!r} is a link that leaves the directory {str(base)!r}: copy the "
            "picture there, or give the directory of the pictures as image_root"
        )
    return there or found[0]


def stays(path: Path, root: Path) -> bool:
    """Whether a path leads into a directory, whatever links there are on the way."""
    try:
        real = os.path.realpath(path)
    except ValueError:  # a NUL
        return False
    return any(real == one or real.startswith(one + os.sep) for one in _homes(root))


@functools.lru_cache(maxsize=100)
def _homes(root: Path) -> tuple[str, ...]:
    """Where files of a directory may lie: inside, or, as the hub's cache has them, in its blobs."""
    cached = root.absolute().parent
    blobs = (str(cached.parent / "blobs"),) if cached.name == "snapshots" else ()
    return tuple(os.path.realpath(one) for one in (root, *blobs))


def _first(paths: Iterable[Path]) -> Path | None:
    """The first one that is a file."""
    for path in paths:
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # a name too long, or no UTF-8: told once it is opened
            continue
    return None


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
