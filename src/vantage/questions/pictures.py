"""Lazy image references: the source of the bytes and the steps to apply when opened."""

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

# Larger images are rejected before decoding: 64 million pixels take 192 MB in RGB.
MOST_PIXELS = 64_000_000
# Larger files are rejected before reading: an uncompressed image of MOST_PIXELS is smaller.
MOST_BYTES = 256_000_000
# Raster formats only: other formats of PIL start programs (EPS), open further files, or contain
# images larger than their header declares (ICO).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

# Magic bytes of image formats, including unsupported ones.
HEADS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0{4}|II\*\0|MM\0\*|P[1-6]\s"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp(?:avif|avis|heic|heix|mif1|msf1)",
    re.DOTALL,
)
VIDEO_HEADS = re.compile(rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ", re.DOTALL)
BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]{12,}(={0,2}\s*)")
WEB = str.maketrans("-_", "+/")  # URL-safe base64 to standard base64
DATA_URI = re.compile(r"\s*data:[^,\s]{0,200},", re.I)
HEAD = 256  # characters of a text inspected to detect base64
LEAST_ENCODED = 64  # characters; a shorter text may be a file name without an extension
# Keys of the image in an object, by priority.
PLACES = ("bytes", "image", "image_url", "url", "base64", "path")

Step = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Picture:
    """A reference to an image. References are compared by source and steps, not by pixels.

    Attributes:
        source: Encoded bytes or a view of them, the path of a file, or a PIL image.
        steps: Functions applied in this order when the image is opened.
    """

    source: bytes | memoryview | Path | Image.Image
    steps: tuple[Step, ...] = ()

    def __hash__(self) -> int:
        """Hash the length and the last bytes only, since hashing a whole image is slow."""
        if isinstance(self.source, Image.Image):
            return hash((self.source.size, self.source.mode, self.steps))
        if isinstance(self.source, Path):
            return hash((self.source, self.steps))
        return hash((len(self.source), bytes(self.source[-64:]), self.steps))

    def then(self, *steps: Step) -> Picture:
        """Append processing steps."""
        return replace(self, steps=self.steps + steps)

    def open(self) -> Image.Image:
        """Decode the image to RGB on a white background, upright by its EXIF data, with all steps.

        Raises:
            InputError: A missing file, an invalid image, or one of more than `MOST_PIXELS` pixels.
        """
        try:
            image = _rgb(ImageOps.exif_transpose(self.unread()))
        except InputError:
            raise
        except Exception as error:  # decoders raise many types on invalid bytes
            raise InputError(f"image cannot be decoded: {error}") from error
        for step in self.steps:
            image = step(image)
        return image

    def unread(self) -> Image.Image:
        """The stored image before any step; PIL decodes its pixels at the first use.

        Raises:
            InputError: A missing file, an invalid image, or one with too many pixels.
        """
        if isinstance(self.source, Image.Image):
            return self.source
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PIL's limit is higher than the one below
                image = Image.open(io.BytesIO(self.encoded()), formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"an image of {image.width} x {image.height} pixels, "
                    f"more than {MOST_PIXELS:,}: scale it down"
                )
            return image
        except UnidentifiedImageError as error:
            known = ", ".join(FORMATS)
            raise InputError(f"not an image in a supported format ({known}): {self!s}") from error
        except Image.DecompressionBombError as error:
            raise InputError(
                f"an image of more than {MOST_PIXELS:,} pixels: scale it down"
            ) from error
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"image cannot be read: {error}") from error

    def encoded(self) -> bytes:
        """The stored bytes before any step; a PIL image is encoded as PNG.

        Raises:
            InputError: A file that is missing, unreadable, or larger than `MOST_BYTES`.
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
        """SHA-256 of the stored bytes before any step."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def __str__(self) -> str:
        if isinstance(self.source, bytes | memoryview):
            return f"{len(self.source)} bytes beginning with {bytes(self.source[:12])!r}"
        return str(self.source)


def picture(value: Any, root: Path | None = None) -> Picture:
    """Make a reference to the image in a data set value. Nothing is downloaded.

    Args:
        value: Encoded bytes, base64 or a data URI, a path, a PIL image, or an object that
            contains one of them, such as {"bytes": ..., "path": ...} or {"url": ...}.
        root: Directory that relative paths start from and that no path may leave; None accepts
            any path.

    Raises:
        InputError: Any other value, an empty value, a URL, or a path that leaves `root`.
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
    raise InputError(f"{shown!r} is not an image: expected bytes, base64, a path, or a PIL image")


def inside(value: Any) -> Any:
    """Extract the image value from an object; any other value is returned unchanged."""
    if not isinstance(value, Mapping):
        return value
    name = next((name for name in PLACES if value.get(name) is not None), None)
    found = value[name] if name else None
    return inside(found) if name in ("image", "image_url") else found  # {"image_url": {"url": ...}}


def looks(content: bytes | memoryview) -> Literal["picture", "video"] | None:
    """Detect an image or a video by its magic bytes."""
    head = bytes(content[:32])
    if HEADS.match(head):
        return "picture"
    return "video" if VIDEO_HEADS.match(head) else None


def is_encoded(text: Any) -> bool:
    """Whether a value is a data URI or a base64 text that decodes to an image."""
    if not isinstance(text, str):
        return False
    if DATA_URI.match(text):
        return True
    if not BASE64.fullmatch(text[:HEAD]):
        return False
    head = "".join(text[:HEAD].split())[:32].rstrip("=").translate(WEB)
    return looks(base64.b64decode(head[: len(head) // 4 * 4])) == "picture"


def _seems_encoded(text: str) -> bool:
    """Whether a text is likely base64 of something other than an image, not a path."""
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
    except (OSError, ValueError) as error:  # name too long or not UTF-8, or no permission
        why = files.reason(error)
        raise InputError(f"image {str(path)[:200]!r} cannot be read: {why}") from error
    if size < 0:
        raise InputError(
            f"image not found: {str(path)[:200]!r}; if images are outside the data's directory, "
            "set image_root to their directory"
        )
    raise InputError(f"an image of {size:,} bytes, more than {MOST_BYTES:,}: scale it down")


def located(path: str, root: Path | None) -> Path:
    """Resolve a path against `root`, or against the working directory if that stays in `root`.

    Raises:
        InputError: A URL, or a path or symbolic link that leaves `root`.
    """
    if path.startswith("file://"):
        path = unquote(path.removeprefix("file://"))
    if "://" in path:
        raise InputError(
            f"{path[:80]!r} is not a path: URLs are not downloaded; download the image and give "
            "its path"
        )
    if "\0" in path:
        raise InputError(f"{path[:80]!r} is not a path: it contains a NUL character")
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
            "set image_root to the directory of the images"
        )
    if there is not None and not stays(there, base):
        raise InputError(
            f"path {path[:200]!r} is a link that leaves the directory {str(base)!r}: copy the "
            "image there, or set image_root to the directory of the images"
        )
    return there or found[0]


def stays(path: Path, root: Path) -> bool:
    """Whether a path is inside a directory after resolving symbolic links."""
    try:
        real = os.path.realpath(path)
    except ValueError:  # a NUL
        return False
    return any(real == one or real.startswith(one + os.sep) for one in _homes(root))


@functools.lru_cache(maxsize=100)
def _homes(root: Path) -> tuple[str, ...]:
    """Directories that may hold the files of `root`: itself, and the blobs of the Hub's cache."""
    cached = root.absolute().parent
    blobs = (str(cached.parent / "blobs"),) if cached.name == "snapshots" else ()
    return tuple(os.path.realpath(one) for one in (root, *blobs))


def _first(paths: Iterable[Path]) -> Path | None:
    """The first existing file."""
    for path in paths:
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # name too long or not UTF-8: reported when it is opened
            continue
    return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits per pixel, which PIL would clip at 255
        image = image if image.mode in ("I", "I;16") else image.convert("I")
        return image.point(lambda level: level / 257).convert("L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image.convert("RGB")
