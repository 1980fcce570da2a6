"""Rows with images, in which faults are planted."""

import io
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

FEATURES = Features(
    {
        "question": Value("string"),
        "answer": Value("string"),
        "image": Image(decode=False),
        "other": List(Value("string")),
    }
)


def painted(number: int, size=(28, 28)) -> Pictures.Image:
    """A distinct image for every number."""
    image = Pictures.new("RGB", size, (number % 256, number // 256, 7))
    image.putpixel((1, 2), (255, number % 256, 0))
    return image


def encoded(image: Pictures.Image, kind: str = "png", **options) -> dict:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return {"bytes": stream.getvalue(), "path": None}


def row(number: int, **changed) -> dict:
    return {
        "question": "Add the digits that you see.",
        "answer": str(number),
        "image": encoded(painted(number)),
        "other": [],
    } | changed


def saved(rows: list[dict], path: Path) -> str:
    Dataset.from_list(rows, features=FEATURES).to_parquet(path)
    return str(path)
