"""A question of a benchmark, and how it is read from a row of the published files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vantage.errors import InputError
from vantage.questions.pictures import Picture, is_encoded, picture
from vantage.questions.schema import Question

Row: TypeAlias = Mapping[str, Any]
# A column ("a"), a value inside it ("a.b"), the first one that is there ("a|b"), or a function.
Field: TypeAlias = str | Callable[[Row], Any]

FOLDERS = ("", "images", "data", "image")  # where published pictures lie beside their table


@dataclass(frozen=True)
class Item:
    """A question of a benchmark.

    Attributes:
        id: of its own.
        question: as it is asked, without a template.
        reference: the right answer; a letter where there are options.
        options: their texts, A first.
        parts: which part of the benchmark it belongs to, by the name of the division.
        cluster: what it shares with questions that are not independent of it.
        row: all columns, for rules and measures that need more.
    """

    id: str
    question: Question
    reference: str
    options: tuple[str, ...]
    parts: Mapping[str, str]
    cluster: str
    row: Row


def value(row: Row, field: Field) -> Any:
    """What stands in a row at a field; None where nothing does."""
    if callable(field):
        return field(row)
    found = (_inside(row, path) for path in field.split("|"))
    return next((one for one in found if one is not None), None)


def _inside(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def pictures(found: Any, root: Path | None) -> dict[int, Picture]:
    """Pictures by number, from one value, a list of them, or values by number."""
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
    """A text that has to be there.

    Raises:
        InputError: it is not.
    """
    if found is None or not str(found).strip():
        where = f"column {field!r} holds" if isinstance(field, str) else "it has"
        raise InputError(f"{where} no {what}")
    return str(found)
