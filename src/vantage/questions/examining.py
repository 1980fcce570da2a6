"""A look at one row: its question, pictures, rewrites and answer. All that is wrong is told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vantage.errors import InputError
from vantage.questions.faults import Fault
from vantage.questions.layouts import Columns
from vantage.questions.pictures import Picture, picture
from vantage.questions.schema import Question, read, rewrites, with_text
from vantage.questions.transforms import TRANSFORMS
from vantage.rewards import references

Made = TypeVar("Made")
EXPECTED = {
    "image": "expected one picture a row: name a column of lists as columns.images",
    "images": "expected a list of pictures a row: name a column of single ones as columns.image",
}


class Examined(NamedTuple):
    """What is kept of a row that was looked at: its texts, not its pictures.

    Attributes:
        faults: what is wrong with it.
        prompt: the question as a conversation; None where it holds pictures as bytes.
        answer: the reference answer as text.
        id: whatever the row is called.
        by_path: whether a picture of it is a file.
    """

    faults: list[Fault]
    prompt: list[dict[str, Any]] | None = None
    answer: str | None = None
    id: Any = None
    by_path: bool = False


@dataclass(frozen=True)
class Examiner:
    """Looks at a row by its number.

    Attributes:
        rows: number -> row, or a fault where it could not be read.
        columns: which columns hold what.
        root: where paths of pictures start, and what they may not leave.
        rewrites_in, allowed_in: columns with other wordings, and with allowed transforms.
        graded_by: the reward that has to accept the reference answer.
    """

    rows: Any
    columns: Columns
    root: Path | None
    rewrites_in: str | None = None
    allowed_in: str | None = None
    graded_by: Callable[..., list[float]] | None = None

    def __call__(self, row: int) -> Examined:
        """The row as far as it can be read, and its faults."""
        try:
            source = self.rows[row]
        except Exception as error:  # whatever Arrow raises on broken text
            return Examined([Fault.of(row, self._broken(row), "", f"cannot be read: {error}")])
        if isinstance(source, Fault):
            return Examined([source])
        return self._examine(source, Attempts(row, source))

    def pictures(self, source: Mapping[str, Any], kind: str) -> list[Picture]:
        """The pictures in the column `image` or `images` of a row."""
        column = getattr(self.columns, kind)
        value = source.get(column) if column else None
        if value is None or value == "":
            return []
        if isinstance(value, list) != (kind == "images"):
            raise InputError(EXPECTED[kind])
        values = value if isinstance(value, list) else [value]
        return [picture(item, self.root) for item in values]

    def conversation(self, source: Any) -> list[dict[str, Any]]:
        """The question of a row as a conversation."""
        return _conversation(source.get(self.columns.question or ""), self.root)

    def _examine(self, source: Mapping[str, Any], attempts: Attempts) -> Examined:
        columns = self.columns
        given = {
            kind: attempts.make(getattr(columns, kind), partial(self.pictures, source, kind))
            for kind in ("image", "images")
        }
        prompt = attempts.make(columns.question, lambda: self.conversation(source))
        question = None
        if prompt is not None and None not in given.values():
            question = attempts.make(columns.question, lambda: _asked(prompt, given))
        if question is not None:
            kind = next((kind for kind, pictures in given.items() if pictures), "question")
            images = getattr(columns, kind)
            examine_question(question, source, attempts, images, self.rewrites_in)
        answer = attempts.make(columns.answer, lambda: self._answer(source))
        attempts.make(self.allowed_in, lambda: check_allowed(source, self.allowed_in))
        for name, value in source.items():
            attempts.make(name, partial(_check_written, value))
        pictures = [*(given["image"] or ()), *(given["images"] or ()), *_inside(prompt or ())]
        return Examined(
            list(dict.fromkeys(attempts.faults)),
            None if any(not isinstance(p.source, Path) for p in _inside(prompt or ())) else prompt,
            answer,
            source.get(columns.id) if columns.id else None,
            any(isinstance(image.source, Path) for image in pictures),
        )

    def _broken(self, row: int) -> str:
        """The first column of a row that cannot be read by itself."""
        for name in self.rows.column_names:
            try:
                self.rows.select_columns([name])[row]
            except Exception:  # as above
                return name
        return ""

    def _answer(self, source: Mapping[str, Any]) -> str | None:
        if self.columns.answer is None:
            return None
        value = source.get(self.columns.answer)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise InputError("the answer is empty")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"the answer is a {type(value).__name__}, expected a text or a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"the answer is {value}, expected a text or a finite number")
        text = str(value)
        if self.graded_by:
            if reason := references.fault(text):
                raise InputError(f"the accuracy reward cannot read the answer: {reason}")
            if self.graded_by([references.perfect(text)], answer=[text])[0] < 1:
                raise InputError("the accuracy reward cannot read the answer: it refuses it itself")
        return text


def examine_question(
    question: Question,
    source: Mapping[str, Any],
    attempts: Attempts,
    images_in: str,
    rewrites_in: str | None,
) -> None:
    """Open the pictures of a question, and put each rewrite in its place."""
    for number, image in enumerate(question.images, start=1):
        of = f"picture {number} of {len(question.images)}: " if len(question.images) > 1 else ""
        attempts.make(images_in, partial(_look_at, image, of))
    for text in attempts.make(rewrites_in, lambda: rewrites(source, rewrites_in)) or ():
        attempts.make(rewrites_in, partial(with_text, question, text))


class Attempts:
    """Things made of a row; where one cannot be made, a fault is noted and None comes back."""

    def __init__(self, row: int, source: Mapping[str, Any]):
        self.row, self.source = row, source
        self.faults: list[Fault] = []

    def make(self, column: str | None, maker: Callable[[], Made]) -> Made | None:
        """What the maker makes; None with a fault of that column when it cannot."""
        try:
            return maker()
        except InputError as error:
            # The schema speaks of TRL's columns; the user's have their own names.
            words = re.sub(r"^column '[^']*':? ", "", str(error))
            value = self.source.get(column or "")
            self.faults.append(Fault.of(self.row, column or "", value, words))
            return None


def _conversation(prompt: Any, root: Path | None) -> list[dict[str, Any]]:
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        raise InputError("the question is empty")
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not all(isinstance(message, dict) for message in prompt):
        raise InputError("expected a text or a conversation")
    return [_message(message, root) for message in prompt]


def _message(message: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """Role and content of a message, pictures inside it as bytes or whole paths."""
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not isinstance(content, str | list):
        raise InputError("expected messages with a role, and a text or a list of parts as content")
    if isinstance(content, list):
        content = [_part(part, root) for part in content]
    return {"role": role, "content": content}


def _part(part: Any, root: Path | None) -> dict[str, Any]:
    if not isinstance(part, dict) or not isinstance(part.get("text"), str | None):
        raise InputError(
            "expected parts {'type': 'text', 'text': ...} and {'type': 'image', 'image': ...}"
        )
    if part.get("image") is None:
        return part
    return {**part, "image": stored(picture(part["image"], root))}


def _asked(prompt: list[dict[str, Any]], given: Mapping[str, Any]) -> Question:
    """The question of a conversation and the pictures in columns, as training will read it."""
    places = [f"the column of the {kind}" for kind, pictures in given.items() if pictures]
    places += ["the conversation"] * bool(_inside(prompt))
    if len(places) > 1:
        raise InputError(f"pictures in {' and in '.join(places)}: keep those of one")
    return read({"prompt": prompt, "images": given["images"] or given["image"] or None})


def stored(image: Picture) -> dict[str, Any]:
    """A picture as a row of Arrow holds it: {"bytes": ..., "path": ...}."""
    if isinstance(image.source, Path):
        return {"bytes": None, "path": str(image.source)}
    return {"bytes": image.encoded(), "path": None}


def _inside(prompt: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Pictures inside the messages of a conversation."""
    contents = [message["content"] for message in prompt]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [picture(part["image"]) for part in parts if part.get("image") is not None]


def _look_at(image: Picture, of: str) -> None:
    try:
        image.open()
    except InputError as error:
        raise InputError(f"{of}{error}") from error


def _check_written(value: Any) -> None:
    """Refuse text that is none, however deep it lies in a value."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"not UTF-8 at character {error.start}") from error
        if "\0" in value:
            raise InputError(f"a NUL at character {value.index(chr(0))}, which no text has")
    elif isinstance(value, Mapping):
        _check_written([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            _check_written(item)


def check_allowed(source: Mapping[str, Any], column: str | None) -> None:
    """Refuse what is no list of transforms.

    Raises:
        InputError: something else than a list, or an unknown transform.
    """
    allowed = source.get(column) if column else None
    if allowed is None:
        return
    if not isinstance(allowed, list):
        raise InputError("expected a list of transforms, or nothing")
    unknown = [name for name in allowed if not isinstance(name, str) or name not in TRANSFORMS]
    if unknown:
        raise InputError(f"no transform {unknown[0]!r}; there are {', '.join(TRANSFORMS)}")
