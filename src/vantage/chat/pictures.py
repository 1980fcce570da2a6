"""Encode images for chat requests."""

from __future__ import annotations

import base64
import io

from PIL import Image

from vantage.errors import InputError
from vantage.questions.pictures import Picture, picture

SENT_AS_THEY_ARE = ("image/png", "image/jpeg", "image/webp", "image/gif")


def data_url(shown: Picture) -> str:
    """Encode an image as a data URL, with its original bytes if servers support the format.

    Raises:
        InputError: Not an image, or a damaged one.
    """
    if shown.steps:  # the stored bytes do not include the processing steps
        return _url(picture(shown.open()).encoded(), "image/png")
    encoded = shown.encoded()
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            mime = opened.get_format_mimetype() or ""
    except OSError as error:
        raise InputError(f"image cannot be read: {error}") from error
    if mime in SENT_AS_THEY_ARE:
        return _url(encoded, mime)
    return _url(picture(shown.open()).encoded(), "image/png")


def _url(encoded: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(encoded).decode()}"
