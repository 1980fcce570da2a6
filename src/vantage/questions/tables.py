"""Read raw rows from a file, a directory or the Hub; unreadable rows become faults."""

from __future__ import annotations

import codecs
import csv
import glob
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from datasets import Dataset, DatasetDict, load_dataset, load_dataset_builder, load_from_disk
from datasets import config as datasets_config
from huggingface_hub.constants import HF_HUB_CACHE
from pyarrow import parquet

from vantage import files
from vantage.errors import InputError, nearest
from vantage.questions import confinement
from vantage.questions.faults import Fault, message
from vantage.questions.pictures import stays
from vantage.questions.reading import with_names

READERS = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
ROWS = ("data", "rows", "examples", "train", "questions", "annotations")  # keys in a JSON object
DEEPEST = 50  # maximum nesting of lists and objects in a row
# Rows from Arrow, or from a text file, where unreadable rows are faults.
Rows: TypeAlias = Dataset | list[dict[str, Any] | Fault]


def open_rows(source: str, split: str, config: str | None = None) -> tuple[Rows, Path]:
    """Open the raw rows of a source and return the directory that confines their image paths.

    For a data set on the Hub, this is the cache directory of `datasets`.

    Args:
        source: A file (parquet, jsonl, json, csv, tsv), a directory (a saved data set, images
            with a metadata table, or files that `datasets` reads), or a data set on the Hub.
        split: Name of the split, if the source has several.
        config: Configuration of a data set on the Hub, if it has several.

    Raises:
        InputError: The source or split does not exist, has no rows or cannot be read, is a URL,
            or is a directory with files outside of it.
        ConfigError: A FIFO, a socket or a device.
    """
    confinement.refuse_address(source)
    source = files.home(source)
    try:
        path = _table(Path(source), split)
    except OSError as error:
        raise InputError(f"{source[:200]!r}: cannot be read: {files.reason(error)}") from error
    files.check_readable(path, "data")
    if path != Path(source) and not stays(path, Path(source)):
        raise InputError(f"{source}: {path.name} is a link to a file outside of the data directory")
    if path.suffix in READERS and not path.is_file():
        raise InputError(f"{source}: no such file (looked in {Path.cwd()})")
    if path.is_file() and path.suffix not in READERS:
        raise InputError(f"{source}: expected a file ending in {', '.join(READERS)}")
    if path.suffix in TEXT and path.is_file():
        rows: Rows = list(TEXT[path.suffix](_content(path), str(path), split))
    else:
        rows = with_names(_arrow(source, path, split, config))
    if not len(rows):
        raise InputError(f"{source}: split {split!r} has no rows")
    if isinstance(rows, list) and all(isinstance(row, Fault) for row in rows):
        raise InputError(message(source, [row for row in rows if isinstance(row, Fault)]))
    if not path.exists():
        return rows, _cache()
    return rows, path.parent if path.is_file() else path


def names(rows: Rows) -> list[str]:
    """Column names, in the order of their first appearance."""
    if isinstance(rows, Dataset):
        return rows.column_names
    return list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))


def _table(path: Path, split: str) -> Path:
    """The metadata table of an image directory; any other path is returned unchanged."""
    for folder in (path, path / split):
        for suffix in (".csv", ".jsonl", ".parquet"):
            if (folder / f"metadata{suffix}").is_file():
                return folder / f"metadata{suffix}"
    return path


def _cache() -> Path:
    """The common cache directory of `datasets` and the Hub."""
    unpacked = str(Path(datasets_config.HF_DATASETS_CACHE).absolute())
    common = os.path.commonpath([unpacked, str(Path(HF_HUB_CACHE).absolute())])
    return Path(unpacked if common == os.sep else common)


def _arrow(source: str, path: Path, split: str, config: str | None) -> Dataset:
    try:
        if path.is_file():
            if not parquet.read_metadata(path).num_rows:  # `datasets` fails on a file without rows
                return Dataset.from_dict({})
            _check_types(source, parquet.read_schema(path))
            # `load_dataset` would make a request to the Hub, which counts it.
            return Dataset.from_parquet(glob.escape(str(path)))
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            confinement.check_saved(path)
            return _split(source, load_from_disk(str(path.absolute())), split)
        if path.is_dir():
            confinement.check_card(path)
            source = str(path.absolute())  # so that it is not read as a name on the Hub
            confinement.check_files(path, load_dataset_builder(source, config))
        return _split(source, load_dataset(source, config), split)
    except InputError:
        raise
    except Exception as error:  # readers of `datasets` raise many types on damaged files
        why = error.__cause__ or error
        told = repr(why) if isinstance(why, KeyError) else " ".join(str(why).split())
        raise InputError(f"{source}: cannot be read as a data set: {told[:300]}") from error


def _check_types(source: str, schema: pa.Schema) -> None:
    """Reject Arrow types that `datasets` does not support."""
    for field in schema:
        if pa.types.is_map(field.type) or pa.types.is_union(field.type):
            raise InputError(
                f"{source}: column {field.name!r} has type {field.type}, which cannot be read: "
                "remove it, or store a struct or a text instead"
            )


def _split(source: str, loaded: Dataset | DatasetDict, split: str) -> Dataset:
    if isinstance(loaded, Dataset):
        return loaded.with_format(None)
    if split not in loaded:
        raise InputError(f"{source}: no split {split!r}; {nearest(split, map(str, loaded))}")
    return loaded[split].with_format(None)


def _content(path: Path) -> bytes:
    """The bytes of a text file without the byte order mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {files.reason(error)}") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path}: is UTF-16: save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8)


def _json_lines(content: bytes, path: str, split: str) -> Iterator[dict[str, Any] | Fault]:
    return map(_line, count(), filter(bytes.strip, content.splitlines()))


def _line(row: int, line: bytes) -> dict[str, Any] | Fault:
    try:
        return _row(row, json.loads(line.decode("utf-8"), object_pairs_hook=_unique))
    except UnicodeDecodeError as error:
        return Fault.of(row, "", line, f"not UTF-8 at byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        return Fault.of(row, "", line.decode("utf-8"), f"not valid JSON: {error}")


def _json(content: bytes, path: str, split: str) -> Iterator[dict[str, Any] | Fault]:
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        lines = ": JSON Lines need the ending .jsonl" if "Extra data" in str(error) else ""
        raise InputError(
            f"{path}: cannot be read as a data set: not valid JSON: {error}{lines}"
        ) from error
    for row, value in enumerate(_listed(found, path, split)):
        yield _row(row, value)


def _listed(found: Any, path: str, split: str) -> list[Any]:
    """Find the rows in a JSON value.

    Supported are a list of rows, an object with such a list, an object that maps ids to rows, and
    an object of columns.

    Raises:
        InputError: No rows, or several lists of which none is named like the split or "data".
    """
    if isinstance(found, list):
        return found
    values = found if isinstance(found, dict) else {}
    lists = {name: value for name, value in values.items() if _holds_rows(value)}
    for name in (split, *ROWS):
        if name in lists:
            return lists[name]
    if len(lists) > 1:
        raise InputError(
            f"{path}: several lists of rows ({', '.join(map(repr, lists))}): name one as the split"
        )
    if lists:
        return next(iter(lists.values()))
    objects = [value for value in values.values() if isinstance(value, dict)]
    if values and len(objects) == len(values):
        by_column = all(inner.isdecimal() for outer in objects for inner in outer)  # from pandas
        if not by_column:
            return [{"id": name, **row} for name, row in values.items()]
        values = {name: list(column.values()) for name, column in values.items()}
    lengths = {len(value) for value in values.values() if isinstance(value, list)}
    if len(lengths) == 1 and all(isinstance(value, list) for value in values.values()):
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    raise InputError(
        f"{path}: cannot be read as a data set: expected a list of rows, as "
        '[{"question": ..., "answer": ...}, ...]'
    )


def _holds_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {repeated!r} occurs more than once")
    return found


def _row(row: int, value: Any) -> dict[str, Any] | Fault:
    if not isinstance(value, dict):
        return Fault.of(row, "", value, "expected an object with a value for each column")
    for name, cell in value.items():
        if _deeper(cell, DEEPEST):
            return Fault.of(row, name, cell, f"nested more than {DEEPEST} deep")
    return value


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(item, levels - 1) for item in inside)


def _separated(
    content: bytes, path: str, split: str, *, by: str
) -> Iterator[dict[str, Any] | Fault]:
    text = content.decode("utf-8", errors="surrogateescape")
    csv.field_size_limit(sys.maxsize)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=by, strict=True)
    try:
        header = _header(next(table, []), path)
        for row, values in enumerate(filter(None, table)):
            yield _record(row, header, values, by)
    except csv.Error as error:
        kind = Path(path).suffix[1:].upper()
        raise InputError(f"{path}: line {table.line_num} is not valid {kind}: {error}") from error


def _header(header: list[str], path: str) -> list[str]:
    """Check the column names: unique and printable."""
    for name, times in Counter(header).items():
        if times > 1:
            raise InputError(f"{path}: {times} columns are named {name!r}: rename them")
        if not name.isprintable():
            raise InputError(f"{path}: column name {name!r} is not printable UTF-8: rename it")
    return header


def _record(
    row: int, header: Sequence[str], values: Sequence[str], by: str
) -> dict[str, Any] | Fault:
    if len(values) != len(header):
        return Fault.of(row, "", by.join(values), f"{len(values)} values for {len(header)} columns")
    return {name: value or None for name, value in zip(header, values, strict=True)}


TEXT: dict[str, Callable[[bytes, str, str], Iterator[dict[str, Any] | Fault]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": partial(_separated, by=","),
    ".tsv": partial(_separated, by="\t"),
}
