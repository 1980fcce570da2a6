"""Read the questions to rewrite, and write the data set with rewrites to a parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from datasets import Dataset, Image, List, Value
from pyarrow import parquet

from vantage import files
from vantage.errors import ConfigError, InputError
from vantage.questions.column_roles import layout_of
from vantage.questions.examining import written_faults
from vantage.questions.faults import FIRST, MANY, Fault, message
from vantage.questions.layouts import Columns, named
from vantage.questions.pictures import Picture, inside, picture
from vantage.questions.reading import PICTURES
from vantage.questions.schema import IMAGE
from vantage.questions.tables import names, open_rows
from vantage.questions.unpacking import BEHIND, Unpacker

REWRITES = "new_questions"
GROUP = 100_000_000  # target bytes of a parquet row group
MOST_ROWS = 10_000  # maximum rows of a row group


@dataclass(frozen=True)
class Item:
    """The question of a row, with what a rewriter may need.

    Attributes:
        row: Row number.
        question: Text of the question, with `<image>` for each image; may be empty.
        answer: Reference answer; may be empty.
        pictures: Stored image values; see `Table.pictures`.
    """

    row: int
    question: str
    answer: str
    pictures: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Table:
    """A data set with one question per row.

    Attributes:
        rows: The unchanged rows.
        unpacker: Reads the question of a row.
    """

    rows: Dataset
    unpacker: Unpacker

    def items(self, *, with_pictures: bool) -> Iterator[Item]:
        """Yield the question of each row lazily, with images if requested."""
        columns = self.unpacker.columns
        wanted = named(columns.question, columns.answer, columns.options)
        wanted += named(columns.image, columns.images) if with_pictures else []
        wanted = [name for name in self.rows.column_names if _needed(name, wanted)]
        # The Arrow format does not decode images.
        stored = self.rows.select_columns(wanted).with_format("arrow")
        for row in range(len(stored)):
            (values,) = stored[row].to_pylist()
            yield self._item(row, values, with_pictures)

    def _item(self, row: int, values: Mapping[str, Any], with_pictures: bool) -> Item:
        """Read a row; the question is empty if it is missing or unreadable."""
        unpacker = self.unpacker
        try:
            told = unpacker.told(values, with_options=False)
        except InputError:
            return Item(row, "", "")
        try:
            answer = unpacker.answer(values, told)
        except InputError:  # rewriting works without an answer
            answer = None
        question, inside = _read(told.asked["content"])
        held = [one for kind in PICTURES for one in unpacker.shown(values, kind)]
        return Item(row, question, answer or "", tuple(inside or held) if with_pictures else ())

    def pictures(self, item: Item) -> list[Picture]:
        """References to the images of a question.

        Raises:
            InputError: A value that is not an image.
        """
        return [picture(value, self.unpacker.root) for value in item.pictures]

    def write(self, path: Path, rewrites: Sequence[Sequence[str]]) -> None:
        """Write all columns and the rewrites atomically."""
        lists = [list(texts) for texts in rewrites]
        whole = self.rows.add_column(REWRITES, lists, feature=List(Value("string")))
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as unfinished, unfinished.open("wb") as file:
            _write(whole, file)


def open_table(data: str, split: str, columns: Columns, out: Path) -> Table:
    """Open a data set and check that it can be written to `out`.

    If `out` is in another directory than the data, image files are embedded as bytes, since
    relative paths would no longer resolve.

    Raises:
        InputError: A source, split or column that does not exist, no rows, an existing column of
            rewrites, or a missing image.
        ConfigError: `out` is not a parquet file or is the data file itself.
    """
    source = Path(data)
    if out.suffix != ".parquet":
        raise ConfigError(f"{str(out)!r}: expected a file ending in .parquet")
    files.check_writable(out, "--output")
    if out.exists() and source.exists() and out.samefile(source):
        raise ConfigError(f"{str(out)!r} is the data itself: give another file")
    raw, folder = open_rows(data, split)
    layout = layout_of(raw, columns, None, data, folder, (REWRITES,))
    if REWRITES in names(raw):
        raise InputError(
            f"{data}: column {REWRITES!r} already exists: remove or rename it to make it anew"
        )
    rows = raw if isinstance(raw, Dataset) else _typed(data, raw)
    _check_storable(data, rows)
    if folder.resolve() != out.parent.resolve():
        for name in named(layout.columns.image, layout.columns.images):
            if name not in rows.column_names:
                raise ConfigError(
                    f"images in {name!r} cannot be embedded: write OUT beside the data"
                )
            rows = _embedded(rows, name, folder, data)
    table = Table(rows, Unpacker(layout, folder))
    _check_first(data, table)
    return table


def _typed(data: str, raw: list[Any]) -> Dataset:
    """Convert the rows of a text file to Arrow."""
    broken = [row for row in raw if isinstance(row, Fault)]
    if broken:
        raise InputError(message(data, broken))
    try:
        return Dataset.from_dict({name: [row.get(name) for row in raw] for name in names(raw)})
    except UnicodeEncodeError as error:
        faults = [fault for row, values in enumerate(raw) for fault in written_faults(row, values)]
        raise InputError(message(data, faults)) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{data}: a column holds values of several types: {error}") from error


def _write(rows: Dataset, file: BinaryIO) -> None:
    """Write rows as parquet. Unlike `Dataset.to_parquet`, this opens no image path or URL."""
    schema = rows.features.arrow_schema
    each = max(1, min(MOST_ROWS, GROUP * len(rows) // max(1, rows.data.nbytes)))
    with parquet.ParquetWriter(file, schema) as writer:
        for batch in rows.with_format("arrow").iter(each):
            writer.write_table(batch.cast(schema))


def _check_first(data: str, table: Table) -> None:
    """Reject a large data set early if its first rows have no questions, as `loading` does."""
    if len(table.rows) > MANY:
        first = islice(table.items(with_pictures=False), FIRST)
        if not any(item.question.strip() for item in first):
            raise InputError(f"{data}: none of its first {FIRST:,} rows has a question")


def _check_storable(data: str, rows: Dataset) -> None:
    """Reject a column type that parquet does not support, before any request is sent."""
    for field in rows.features.arrow_schema:
        try:
            parquet.write_table(pa.schema([field]).empty_table(), pa.BufferOutputStream())
        except pa.ArrowNotImplementedError as error:
            raise InputError(
                f"{data}: column {field.name!r} cannot be written as parquet: {error}"
            ) from error


def _needed(column: str, wanted: Sequence[str]) -> bool:
    """Whether a column, or a place inside it, is requested or part of the question."""
    return column in BEHIND.values() or any(
        name == column or name.startswith(f"{column}.") for name in wanted
    )


def _read(content: Any) -> tuple[str, list[Any]]:
    """The text of a message with image placeholders, and the images inside it."""
    if not isinstance(content, list):
        return content or "", []
    texts = [IMAGE if p.get("type") == "image" else p.get("text") or "" for p in content]
    return "".join(texts), [p["image"] for p in content if p.get("image") is not None]


def _embedded(rows: Dataset, name: str, folder: Path | None, data: str) -> Dataset:
    """Replace the image paths of a column with the bytes of the files."""
    stored = rows.select_columns([name]).with_format("arrow")
    values = (value[name] for batch in stored.iter(64) for value in batch.to_pylist())
    if not any(map(_is_file, values)):
        return rows
    feature, features = rows.features[name], rows.features.copy()
    features[name] = List(Image()) if isinstance(feature, List) else Image()
    if feature == features[name]:  # an image column would decode its images in `map`
        raw = Image(decode=False)
        rows = rows.cast_column(name, List(raw) if isinstance(feature, List) else raw)

    def held(value: Any, row: int) -> dict[str, Any]:
        try:
            return {name: _with_bytes(value, folder)}
        except InputError as error:
            raise InputError(message(data, [Fault.of(row, name, value, str(error))])) from error

    return rows.map(held, input_columns=name, with_indices=True, features=features)


def _is_file(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_file, value))
    found = inside(value)
    return isinstance(found, str) and bool(found)


def _with_bytes(value: Any, folder: Path | None) -> Any:
    if isinstance(value, list):
        return [_with_bytes(item, folder) for item in value]
    if not _is_file(value):
        return value
    image = picture(value, folder)
    image.open()  # embed valid images only, so that no other file is copied
    name = image.source.name if isinstance(image.source, Path) else None
    return {"bytes": image.encoded(), "path": name}
