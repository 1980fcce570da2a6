"""Questions of benchmarks, read from rows of the published files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vantage.errors import InputError
from vantage.questions.pictures import Picture, is_encoded, picture
from vantage.questions.schema import Question

Row: TypeAlias = Mapping[str, Any]
# A column ("a"), a value inside it ("a.b"), the first that exists ("a|b"), or a function.
Field: TypeAlias = str | Callable[[Row], Any]

FOLDERS = ("", "images", "data", "image")  # folders of published images, relative to the table


@dataclass(frozen=True)
class Item:
    """A question of a benchmark.

    Attributes:
        id: Unique id.
        question: The question without template.
        reference: The right answer; a letter if the question has options.
        options: Texts of the options, A first.
        parts: The part of the benchmark that it belongs to, by the name of the division.
        cluster: Id that it shares with dependent questions.
        row: All columns, for rules and measures that need more.
    """

    id: str
    question: Question
    reference: str
    options: tuple[str, ...]
    parts: Mapping[str, str]
    cluster: str
    row: Row


def value(row: Row, field: Field) -> Any:
    """Return the value of a field in a row; None if it is missing."""
    if callable(field):
        return field(row)
    found = (_inside(row, path) for path in field.split("|"))
    return next((one for one in found if one is not None), None)


def _inside(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def pictures(found: Any, root: Path | None) -> dict[int, Picture]:
    """Open images by number, from one value, a list of values, or a mapping of numbers to values.

    Args:
        found: The value or values; None and empty ones are skipped.
        root: Directory that relative paths start from.
    """
    if isinstance(found, Mapping) and not {"bytes", "path"} & set(found):
        by_number = dict(found)
    else:
        by_number = dict(enumerate(found if isinstance(found, list) else [found], start=1))
    there = {number: one for number, one in by_number.items() if one not in (None, "")}
    return {number: _picture(one, root) for number, one in there.items()}


def _picture(found: Any, root: Path | None) -> Picture:
    if is_encoded(found):
        return picture(found)
    path = found.get("path") if isinstance(found, Mapping) and not found.get("bytes") else found
    if root is None or not isinstance(path, str):
        return picture(found, root)
    candidates = [picture(str(Path(folder) / path), root) for folder in FOLDERS]
    return next((one for one in candidates if Path(str(one)).is_file()), candidates[0])


def needed(found: Any, field: Field, what: str) -> str:
    """Return a required value as a string.

    Raises:
        InputError: If the value is missing or empty; names the column.
    """
    if found is None or not str(found).strip():
        where = f"column {field!r} holds" if isinstance(field, str) else "it has"
        raise InputError(f"{where} no {what}")
    return str(found)
