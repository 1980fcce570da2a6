"""A question of a benchmark, and how it is read from a row of the published files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vantage.errors import InputError
from vantage.questions.pictures import Picture, picture
from vantage.questions.schema import IMAGE, Question, with_text
from vantage.rewards.values import LETTERS

Row: TypeAlias = Mapping[str, Any]
# A column ("a"), a value inside it ("a.b"), the first one that is there ("a|b"), or a function.
Field: TypeAlias = str | Callable[[Row], Any]

NUMBERED = re.compile(r"<image\s*(\d+)>")
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


def place(text: str, pictures: Mapping[int, Picture]) -> Question:
    """A question whose text mentions its pictures by number, as <image1> or <image 1>.

    The first mention places a picture, later ones name it; pictures without one stand first.
    """
    placed: list[int] = []

    def mention(found: re.Match[str]) -> str:
        number = int(found[1])
        if number not in pictures or number in placed:
            return f"image {number}"
        placed.append(number)
        return IMAGE

    if IMAGE in text:
        return with_text(Question("", tuple(pictures.values())), text)
    text = NUMBERED.sub(mention, text)
    order = [number for number in pictures if number not in placed]
    images = tuple(pictures[number] for number in [*order, *placed])
    return with_text(Question("", images), IMAGE * len(order) + text)


def pictures(found: Any, root: Path | None) -> dict[int, Picture]:
    """Pictures by number, from one value, a list of them, or values by number."""
    if isinstance(found, Mapping) and not {"bytes", "path"} & set(found):
        by_number = dict(found)
    else:
        by_number = dict(enumerate(found if isinstance(found, list) else [found], start=1))
    there = {number: one for number, one in by_number.items() if one not in (None, "")}
    return {number: _picture(one, root) for number, one in there.items()}


def _picture(found: Any, root: Path | None) -> Picture:
    path = found.get("path") if isinstance(found, Mapping) and not found.get("bytes") else found
    if root is None or not isinstance(path, str):
        return picture(found)
    candidates = [picture(str(Path(folder) / path), root) for folder in FOLDERS]
    return next((one for one in candidates if Path(str(one)).is_file()), candidates[0])


def lettered(text: str) -> tuple[str, ...]:
    """Options that are written into a text: "A: 40°\\nB: 60°", "A. 3; B. 4", "(A) 3 (B) 4"."""
    text = re.split(r"(?:Choices|Options)\s*:", text)[-1]
    bounds: list[tuple[int, int]] = []
    for name in LETTERS:
        start = bounds[-1][1] if bounds else 0
        found = re.compile(rf"(?:^|[\s;,(]){name}\s*[.:)]\s*").search(text, max(0, start - 1))
        if not found:
            break
        bounds.append(found.span())
    ends = [*(start for start, _ in bounds[1:]), len(text)]
    spans = zip(bounds, ends, strict=False)
    return tuple(text[start:end].strip(" ;,\n") for (_, start), end in spans)


def listing(options: tuple[str, ...]) -> str:
    """Options as they are shown behind a question."""
    shown = (f"({name}) {option}" for name, option in zip(LETTERS, options, strict=False))
    return "\nChoices:\n" + "\n".join(shown)


def needed(found: Any, field: Field, what: str) -> str:
    """A text that has to be there.

    Raises:
        InputError: it is not.
    """
    if found is None or not str(found).strip():
        where = f"column {field!r} holds" if isinstance(field, str) else "it has"
        raise InputError(f"{where} no {what}")
    return str(found)
