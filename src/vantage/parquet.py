"""Reads parquet files that may be damaged, malicious, or written by other software."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vantage.errors import InputError

MOST_ROWS = 10_000_000
MOST_BYTES = 2**30  # per table, uncompressed
BATCH_BYTES = 2**26  # per batch of rows


class _UnfitError(Exception):
    """The file cannot be used; the message says why."""


def read(
    place: Path,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    absent: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Read columns of a parquet file, cast to the types of a schema; ignore other columns.

    Integers and floats of other widths are cast if no value is lost, and any string type is cast
    to string. Nulls are kept; the caller handles them.

    Args:
        place: The file.
        schema: Types of all columns. An empty struct type matches any struct of numbers.
        columns: Names of the columns to read; None reads all of the schema.
        absent: Default values of columns that earlier versions did not write.

    Raises:
        InputError: The file is missing, not parquet, damaged or too large, or a column is missing
            or has the wrong type; names the file.
    """
    wanted = list(schema.names if columns is None else columns)
    try:
        with pq.ParquetFile(_file(place), page_checksum_verification=True) as file:
            known = {name: value for name, value in (absent or {}).items() if name in wanted}
            known = {name: known[name] for name in known if name not in file.schema_arrow.names}
            found = _read(file, [name for name in wanted if name not in known])
            for name, value in known.items():
                found = found.append_column(name, pa.array([value] * len(found)))
            made = [_column(found, schema.field(name)) for name in wanted]
        table = pa.Table.from_arrays(made, names=wanted)
        table.validate(full=True)
        return table
    except _UnfitError as error:
        why = str(error)
    # Arrow raises all of these on malformed files.
    except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException) as error:
        why = f"it is damaged or not parquet: {' '.join(str(error).split())[:200]}"
    raise InputError(f"{str(place)!r} cannot be read: {why}")


def _file(place: Path) -> Path:
    mode = place.stat().st_mode
    if not stat.S_ISREG(mode):  # reading a pipe would block
        raise _UnfitError("it is a directory" if stat.S_ISDIR(mode) else "it is not a file")
    return place


def _read(file: pq.ParquetFile, wanted: list[str]) -> pa.Table:
    there, told = file.schema_arrow.names, file.metadata
    if missing := [name for name in wanted if name not in there]:
        raise _UnfitError(f"it has no column {', '.join(missing)}")
    if twice := [name for name in wanted if there.count(name) > 1]:
        raise _UnfitError(f"it has the column {twice[0]} twice")
    if told.num_rows > MOST_ROWS:
        raise _UnfitError(f"it has {told.num_rows:,} rows, expected at most {MOST_ROWS:,}")
    # Dictionary encoding stores a repeated text once, so a small file can expand without bound.
    # Assume that a row may hold all bytes of the file, and stop at the limit.
    largest = max(_bytes(told, wanted), 1)
    batches, size = [], 0
    for batch in file.iter_batches(max(1, min(BATCH_BYTES // largest, 2**16)), columns=wanted):
        size += batch.nbytes
        if size > MOST_BYTES:
            raise _UnfitError(f"it has more than {MOST_BYTES:,} bytes uncompressed")
        batches.append(batch)
    found = pa.Table.from_batches(batches, pa.schema([file.schema_arrow.field(n) for n in wanted]))
    if len(found) != told.num_rows:
        raise _UnfitError(f"it has {len(found):,} rows, but its footer says {told.num_rows:,}")
    return found


def _bytes(told: pq.FileMetaData, wanted: list[str]) -> int:
    groups = (told.row_group(number) for number in range(told.num_row_groups))
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema.split(".")[0] in wanted
    )


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    column = table[field.name]
    kind = column.type
    if field.type == pa.struct([]):
        return column.cast(_floats(kind, field.name))
    fits = kind == field.type or any(
        of(kind) and of(field.type) for of in (pa.types.is_integer, _is_number, _is_text)
    )
    fits = fits and not (pa.types.is_integer(field.type) and not pa.types.is_integer(kind))
    if not fits and not (pa.types.is_nested(kind) and pa.types.is_nested(field.type)):
        raise _UnfitError(f"column {field.name} holds {kind}, expected {field.type}")
    return column.cast(field.type)


def _floats(kind: pa.DataType, name: str) -> pa.DataType:
    """The struct type with float64 for each of its numeric fields."""
    known = pa.types.is_struct(kind) and kind.num_fields
    if not known or not all(_is_number(part.type) for part in kind):
        raise _UnfitError(f"column {name} holds {kind}, expected a struct of numbers")
    if len({part.name for part in kind}) < kind.num_fields:
        raise _UnfitError(f"column {name} has two fields of the same name")
    return pa.struct([(part.name, pa.float64()) for part in kind])


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
