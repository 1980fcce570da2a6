"""Read data set rows by number, with images as views of Arrow's memory-mapped buffers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetInfo, Features, Image, LargeList, List, Value
from datasets.fingerprint import Hasher
from datasets.table import InMemoryTable

from vantage.questions.pictures import picture

STRUCT = Image(decode=False)
PICTURES = {"image": STRUCT, "images": List(STRUCT)}


class Reader:
    """Reads rows by number without copying image bytes.

    Args:
        rows: Data set with `prompt` and, for images, `image` or `images`. If it has a format or
            transform, that is kept and decides how images are read.
    """

    def __init__(self, rows: Dataset):
        if rows.format["type"] is None and set(rows.format["columns"]) < set(rows.column_names):
            rows = rows.select_columns(rows.format["columns"])
        self.rows, self.kinds = rows, []
        if rows.format["type"] is not None:
            return
        for name, feature in rows.features.items():
            if name in PICTURES and _holds_pictures(feature):
                self.rows = held_as(self.rows, name, PICTURES[name])
                self.kinds.append(name)
        self._texts = self.rows.remove_columns(self.kinds)
        self._pictures = self.rows.select_columns(self.kinds).with_format("arrow")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return a row with images as {"bytes": view, "path": path}."""
        if not self.kinds:
            return self.rows[row]
        found = self._texts[row] if self._texts.column_names else {}
        cells = self._pictures[row : row + 1]
        return {**found, **{kind: _viewed(_only_chunk(cells[kind])) for kind in self.kinds}}

    def part(self, places: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield a range of consecutive rows; text-only rows are read at once."""
        if self.kinds or self.rows.format["type"] is not None:
            return (self[place] for place in places)
        return together(self.rows, places)

    def unread(self, row: dict[str, Any]) -> dict[str, Any]:
        """Replace image references with PIL images, which decode their pixels at the first use."""
        opened = dict(row)
        for kind in self.kinds:
            value = row[kind]
            if isinstance(value, list):
                opened[kind] = [picture(item).unread() for item in value]
            elif value is not None:
                opened[kind] = picture(value).unread()
        return opened


def together(rows: Dataset, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield consecutive rows, read at once, which is ten times faster than one by one.

    If a column has bytes, rows are read one by one, since a batch of them may not fit in memory.
    """
    if not places or any(map(_has_bytes, rows.data.schema.types)):
        return (rows[place] for place in places)
    columns = rows[places[0] : places[-1] + 1]
    names = list(columns)
    return (dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True))


def read_part(rows: Any, places: range) -> list[Any]:
    """Read consecutive rows, at once if possible; an unreadable row gives its exception.

    Args:
        rows: A `Reader`, a data set or a list of rows.
        places: Row numbers.
    """
    try:
        if isinstance(rows, Reader):
            return list(rows.part(places))
        if isinstance(rows, Dataset):
            return list(together(rows, places))
    except Exception:  # read them one by one to find the faulty row
        return [_row_or_error(rows, place) for place in places]
    return rows[places.start : places.stop]


def _row_or_error(rows: Reader | Dataset, place: int) -> Any:
    try:
        return rows[place]
    except Exception as error:  # Arrow and image decoders raise many types
        return error


def is_text_alone(rows: Dataset) -> bool:
    """Whether the column types rule out images in any row."""
    if rows.format["type"] is not None or PICTURES.keys() & set(rows.column_names):
        return False
    prompt = rows.data.schema.field("prompt").type if "prompt" in rows.column_names else pa.null()
    if pa.types.is_list(prompt) and pa.types.is_struct(prompt.value_type):
        parts = prompt.value_type
        at = parts.get_field_index("content")
        return at >= 0 and _is_text(parts.field(at).type)
    return _is_text(prompt)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _has_bytes(kind: pa.DataType) -> bool:
    """Whether an Arrow type contains bytes at any depth."""
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    return any(_has_bytes(kind.field(n).type) for n in range(kind.num_fields))


def undecoded(rows: Dataset) -> Dataset:
    """Disable decoding of image columns, which would dominate the time to read a row."""
    for name, feature in rows.features.items():
        stored = _stored(feature)
        if stored != feature:
            rows = held_as(rows, name, stored)
    return rows


def of_arrays(**columns: pa.ChunkedArray) -> Dataset:
    """Make a data set from Arrow columns."""
    table = pa.table(columns)
    hashed = hashlib.blake2b(str(table.schema).encode(), digest_size=8)
    for buffer in (
        b for column in table.columns for chunk in column.chunks for b in chunk.buffers()
    ):
        hashed.update(b"" if buffer is None else buffer)
    # An explicit fingerprint, since `datasets` would copy the whole table to compute one.
    return Dataset(InMemoryTable(table), fingerprint=hashed.hexdigest())


def with_names(rows: Dataset) -> Dataset:
    """Replace class numbers of `ClassLabel` columns with class names."""
    for name, feature in rows.features.items():
        if not isinstance(feature, ClassLabel) or not feature.names:
            continue
        known = dict(enumerate(feature.names))  # -1, a missing label, becomes None
        numbers = rows.data.column(name).to_pylist()
        named = pa.array([known.get(number) for number in numbers], pa.string())
        place = rows.data.column_names.index(name)
        table = rows.data.set_column(place, name, named)
        features = Features({**rows.features, name: Value("string")})
        mark = Hasher.hash([rows._fingerprint, name, "names"])
        rows = Dataset(table, DatasetInfo(features=features), rows.split, rows._indices, mark)
    return rows


def held_as(rows: Dataset, column: str, feature: Any) -> Dataset:
    """Cast a column to another feature without copying images, unlike `Dataset.cast`."""
    features = Features({**rows.features, column: feature})
    table = rows.data.cast(features.arrow_schema)
    # An explicit fingerprint, since `datasets` would read the whole table to compute one.
    name = Hasher.hash([rows._fingerprint, column, repr(feature)])
    return Dataset(table, DatasetInfo(features=features), rows.split, rows._indices, name)


def _stored(feature: Any) -> Any:
    """The feature with decoding disabled at any depth."""
    if isinstance(feature, dict):
        return {name: _stored(inner) for name, inner in feature.items()}
    if isinstance(feature, list):
        return [_stored(inner) for inner in feature]
    if isinstance(feature, List | LargeList):
        return replace(feature, feature=_stored(feature.feature))
    return replace(feature, decode=False) if hasattr(feature, "decode") else feature


def _holds_pictures(feature: Any) -> bool:
    return isinstance(feature, Image) or isinstance(getattr(feature, "feature", None), Image)


def _only_chunk(column: pa.ChunkedArray) -> pa.Array:
    return next(chunk for chunk in column.chunks if len(chunk))


def _viewed(cell: pa.Array) -> Any:
    """The value of an array of length one, with its bytes as a view.

    The view is taken from the array's buffers, since an Arrow scalar would copy the bytes.
    """
    if cell.null_count:
        return None
    kind = cell.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        start, stop = cell.offsets.to_pylist()
        return [_viewed(cell.values.slice(place, 1)) for place in range(start, stop)]
    if pa.types.is_struct(kind):
        return {field.name: _viewed(cell.field(n)) for n, field in enumerate(kind)}
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        _, offsets, content = cell.buffers()
        places = memoryview(offsets).cast("i" if pa.types.is_binary(kind) else "q")
        return memoryview(content or b"")[places[cell.offset] : places[cell.offset + 1]]
    return cell[0].as_py()
