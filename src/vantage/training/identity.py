"""Digests of the rows that a run trains on, to detect changed data on resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from vantage.errors import some_names

ROWS = 10_000  # rows per batch
ENDS = 256  # bytes at either end of an embedded image
PICTURE = {"bytes", "path"}


def identity(rows: Dataset) -> dict[str, str]:
    """Compute a digest of each column, in row order.

    Image files are identified by name and size, and embedded images by size and the `ENDS` bytes
    at either end, so that no image is read or decoded in full.

    Returns:
        Column -> hexadecimal digest.
    """
    found = {name: hashlib.sha256() for name in sorted(rows.column_names)}
    for table in rows.with_format("arrow").iter(batch_size=ROWS):
        for name, made in found.items():
            for part in _parts(table[name].combine_chunks()):
                made.update(json.dumps(part, default=str).encode())
    return {name: made.hexdigest()[:32] for name, made in found.items()}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Describe how the digests of two data sets differ; None if they are equal."""
    gone, new = sorted({*before} - {*now}), sorted({*now} - {*before})
    changed = [name for name in now if name in before and now[name] != before[name]]
    told = [
        *([_told(gone, "is gone", "are gone")] if gone else []),
        *([_told(new, "is new", "are new")] if new else []),
        *([_told(changed, "has other values", "have other values")] if changed else []),
    ]
    return ", ".join(told) or None


def _told(columns: list[str], one: str, several: str) -> str:
    if len(columns) == 1:
        return f"the column {columns[0]} {one}"
    return f"the columns {some_names(columns)} {several}"


def _parts(array: pa.Array) -> Iterator[list[Any]]:
    """Yield the values of a column in a form that JSON supports, with images summarized."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield pc.list_value_length(array).to_pylist()
        yield from _parts(array.flatten())
    elif pa.types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        fields = dict(zip(names, array.flatten(), strict=True))
        yield [names, array.is_valid().to_pylist() if array.null_count else len(array)]
        if {*names} == PICTURE:
            yield _embedded(fields["bytes"])
            yield _files(fields["path"], fields["bytes"])
        else:
            for name in sorted(names):
                yield from _parts(fields[name])
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        yield _embedded(array)
    else:
        yield array.to_pylist()


def _embedded(array: pa.Array) -> list[Any]:
    if array.null_count == len(array):
        return [None] * len(array)
    ends = (pc.binary_slice(array, 0, ENDS), pc.binary_slice(array, -ENDS, 2**31 - 1))
    sizes = pc.binary_length(array).to_pylist()
    return [*zip(sizes, *(end.to_pylist() for end in ends), strict=True)]


def _files(paths: pa.Array, contents: pa.Array) -> list[Any]:
    """Name and size of each file that is not embedded; its directory may change."""
    embedded = contents.is_valid().to_pylist()
    return [
        None if path is None or held else (Path(path).name, _size(path))
        for path, held in zip(paths.to_pylist(), embedded, strict=True)
    ]


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None
