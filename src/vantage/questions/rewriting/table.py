"""The rows whose questions are rewritten, and the file that they are written to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Image, List, Value

from vantage.errors import ConfigError, InputError
from vantage.questions.faults import Fault, message
from vantage.questions.layouts import Columns, resolve
from vantage.questions.pictures import Picture, picture
from vantage.questions.schema import IMAGE
from vantage.questions.tables import names, open_rows

REWRITES = "new_questions"


@dataclass(frozen=True)
class Item:
    """A row's question, `<image>` where a picture stands, with what a rewriter may need.

    Attributes:
        row: its number.
        question, answer: texts, empty where there is none.
        pictures: as the data have them; see `Table.pictures`.
    """

    row: int
    question: str
    answer: str
    pictures: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Table:
    """A data set with a question a row."""

    rows: Dataset
    columns: Columns
    folder: Path | None

    def items(self, *, with_pictures: bool) -> Iterator[Item]:
        """The rows' questions, read one at a time; pictures only where they are wanted."""
        names = [self.columns.question, self.columns.answer]
        names += [self.columns.image, self.columns.images] if with_pictures else []
        # As Arrow has them: pictures are not decoded.
        stored = self.rows.select_columns([name for name in names if name]).with_format("arrow")
        for row in range(len(stored)):
            (values,) = stored[row].to_pylist()
            yield self._item(row, values, with_pictures)

    def _item(self, row: int, values: Mapping[str, Any], with_pictures: bool) -> Item:
        answer = values.get(self.columns.answer or "")
        question, inside = _read(values[self.columns.question or ""])
        held = (inside or _held(self.columns, values)) if with_pictures else ()
        return Item(row, question, "" if answer is None else str(answer), tuple(held))

    def pictures(self, item: Item) -> list[Picture]:
        """The pictures of a question.

        Raises:
            InputError: something that is no picture.
        """
        return [picture(value, self.folder) for value in item.pictures]

    def write(self, path: Path, rewrites: Sequence[Sequence[str]]) -> None:
        """All columns as they are, and the rewrites, in one step: a whole file or none."""
        lists = [list(texts) for texts in rewrites]
        whole = self.rows.add_column(REWRITES, lists, feature=List(Value("string")))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                whole.to_parquet(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def open_table(data: str, split: str, columns: Columns, out: Path) -> Table:
    """The data set, ready to be written to `out`.

    Where `out` stands in another directory than the data, pictures that are files take their
    bytes along, since relative paths would lead elsewhere.

    Raises:
        InputError: no such source, split or column, no rows, rewrites that are there already,
            or a picture that is missing.
        ConfigError: `out` is no parquet file or the data itself.
    """
    source = Path(data)
    if out.suffix != ".parquet":
        raise ConfigError(f"{str(out)!r}: expected a file ending in .parquet")
    if out.exists() and source.exists() and out.samefile(source):
        raise ConfigError(f"{str(out)!r} is the data itself: give another file")
    raw, folder = open_rows(data, split)
    columns = resolve(columns, None, names(raw), data)
    if REWRITES in names(raw):
        raise InputError(
            f"{data}: column {REWRITES!r} is there already: remove or rename it to have it "
            "made again"
        )
    rows = raw if isinstance(raw, Dataset) else _typed(data, raw)
    if folder is None or folder.resolve() != out.parent.resolve():
        for name in filter(None, (columns.image, columns.images)):
            rows = _embedded(rows, name, folder)
    return Table(rows, columns, folder)


def _typed(data: str, raw: list[Any]) -> Dataset:
    """Rows of a text file as a table of Arrow."""
    broken = [row for row in raw if isinstance(row, Fault)]
    if broken:
        raise InputError(message(data, broken))
    try:
        return Dataset.from_dict({name: [row.get(name) for row in raw] for name in names(raw)})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{data}: a column holds values of several kinds: {error}") from error


def _read(prompt: Any) -> tuple[str, list[Any]]:
    """The text of a question with placeholders, and the pictures inside a conversation."""
    turns = prompt if isinstance(prompt, list) and prompt else [prompt]
    users = [turn for turn in turns if isinstance(turn, Mapping) and turn.get("role") == "user"]
    message = (users or turns)[-1]
    content = message.get("content") if isinstance(message, Mapping) else message
    if not isinstance(content, list):
        return content or "" if isinstance(content, str | None) else str(content), []
    texts = [IMAGE if p.get("type") == "image" else p.get("text") or "" for p in content]
    return "".join(texts), [p["image"] for p in content if p.get("image") is not None]


def _held(columns: Columns, values: Mapping[str, Any]) -> list[Any]:
    one = values.get(columns.image or "")
    several = values.get(columns.images or "") or []
    return [value for value in [one, *several] if value is not None]


def _embedded(rows: Dataset, name: str, folder: Path | None) -> Dataset:
    """The rows, the files that a column names replaced by their bytes."""
    stored = rows.select_columns([name]).with_format("arrow")
    values = (value[name] for batch in stored.iter(64) for value in batch.to_pylist())
    if not any(map(_is_file, values)):
        return rows
    feature, features = rows.features[name], rows.features.copy()
    features[name] = List(Image()) if isinstance(feature, List) else Image()
    if feature == features[name]:  # such a column would decode its pictures
        raw = Image(decode=False)
        rows = rows.cast_column(name, List(raw) if isinstance(feature, List) else raw)
    return rows.map(
        lambda value: {name: _with_bytes(value, folder)}, input_columns=name, features=features
    )


def _is_file(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_file, value))
    if isinstance(value, Mapping):
        return value.get("bytes") is None and bool(value.get("path"))
    return isinstance(value, str) and bool(value)


def _with_bytes(value: Any, folder: Path | None) -> Any:
    if isinstance(value, list):
        return [_with_bytes(item, folder) for item in value]
    if not _is_file(value):
        return value
    path = value["path"] if isinstance(value, Mapping) else value
    return {"bytes": picture(path, folder).encoded(), "path": Path(path).name}
