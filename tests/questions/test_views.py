"""Images of a row are views of Arrow's memory, not copies."""

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value

from vantage.questions.reading import Reader

STRUCT = Image(decode=False)
PICTURES = [{"bytes": bytes([n]) * (100 + n), "path": None} for n in range(6)]


def address(view) -> int:
    return np.frombuffer(view, dtype=np.uint8).ctypes.data


def lies_in(view, array) -> bool:
    """Whether a view lies in a buffer of the array."""
    spans = [(b.address, b.address + b.size) for b in array.buffers() if b is not None]
    return any(start <= address(view) < end for start, end in spans)


def test_an_image_is_a_view_of_the_column():
    features = Features({"prompt": Value("string"), "image": STRUCT})
    columns = {"prompt": list("abcdef"), "image": [*PICTURES[:5], None]}
    rows = Dataset.from_dict(columns, features)
    reader = Reader(rows)
    column = rows.data.column("image").chunk(0)
    for number in range(5):
        view = reader[number]["image"]["bytes"]
        assert bytes(view) == PICTURES[number]["bytes"]
        assert lies_in(view, column)
    assert reader[5]["image"] is None


def test_images_in_a_list_are_views_of_the_column():
    features = Features({"prompt": Value("string"), "images": List(STRUCT)})
    columns = {"prompt": list("abc"), "images": [PICTURES[:2], [], PICTURES[2:]]}
    rows = Dataset.from_dict(columns, features)
    reader = Reader(rows)
    column = rows.data.column("images").chunk(0)
    assert reader[1]["images"] == []
    views = [item["bytes"] for number in (0, 2) for item in reader[number]["images"]]
    assert [bytes(view) for view in views] == [picture["bytes"] for picture in PICTURES]
    assert all(lies_in(view, column) for view in views)


@pytest.mark.parametrize("arranged", ["selected", "joined"])
def test_views_are_correct_after_reordering_and_concatenation(arranged):
    from datasets import concatenate_datasets

    features = Features({"prompt": Value("string"), "image": STRUCT})
    parts = [
        Dataset.from_dict({"prompt": ["a"] * 3, "image": PICTURES[start : start + 3]}, features)
        for start in (0, 3)
    ]
    rows, order = concatenate_datasets(parts), range(6)
    if arranged == "selected":
        order = [5, 2, 0, 3]
        rows = rows.select(order)
    reader = Reader(rows)
    for place, number in enumerate(order):
        assert bytes(reader[place]["image"]["bytes"]) == PICTURES[number]["bytes"]


def test_a_path_is_read_as_text():
    features = Features({"prompt": Value("string"), "image": STRUCT})
    columns = {"prompt": ["a"], "image": [{"bytes": None, "path": "a.png"}]}
    rows = Dataset.from_dict(columns, features)
    assert Reader(rows)[0]["image"] == {"bytes": None, "path": "a.png"}
