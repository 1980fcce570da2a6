"""Check one row (its question, images, rewrites and answer) and report every fault in it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vantage.errors import InputError
from vantage.questions.acceptance import Acceptance
from vantage.questions.column_kinds import value_at
from vantage.questions.conversations import Told
from vantage.questions.faults import Fault
from vantage.questions.layouts import Columns
from vantage.questions.pictures import Picture, picture
from vantage.questions.reading import PICTURES, read_part
from vantage.questions.schema import IMAGE, Question, pictures, read, rewrites, with_text
from vantage.questions.transforms import TRANSFORMS
from vantage.questions.unpacking import Unpacker, check_tags
from vantage.rewards import references

Made = TypeVar("Made")


class Examined(NamedTuple):
    """Result of checking a row: its texts without its images.

    Attributes:
        faults: Faults of the row.
        prompt: The question as a conversation; None if it contains images as bytes.
        answer: The reference answer as text.
        options: Option texts of the question.
        id: The row's identifier.
        changed: Whether the conversation differs from the stored one.
        moved: Whether images have to be copied to a new column.
        several: Whether a column for one image per row holds several.
    """

    faults: list[Fault]
    prompt: list[dict[str, Any]] | None = None
    answer: str | None = None
    options: tuple[str, ...] = ()
    id: Any = None
    changed: bool = False
    moved: bool = False
    several: bool = False


@dataclass(frozen=True)
class Examiner:
    """Checks rows by number.

    Attributes:
        rows: Maps a row number to a row, or to a fault if it could not be read.
        unpacker: Reads the question, images and answer of a row.
        rewrites_in, allowed_in: Columns with rewrites and with allowed transforms.
        graded_by: Reward function that has to accept the reference answer.
        takes: Image sizes that the model's processor accepts.
    """

    rows: Any
    unpacker: Unpacker
    rewrites_in: str | None = None
    allowed_in: str | None = None
    graded_by: Callable[..., list[float]] | None = None
    takes: Acceptance | None = None

    def part(self, rows: range) -> Iterator[Examined]:
        """Check a range of consecutive rows."""
        return map(self._read, rows, read_part(self.rows, rows))

    def _read(self, row: int, source: Mapping[str, Any] | Fault | Exception) -> Examined:
        if isinstance(source, Fault):
            return Examined([source])
        if isinstance(source, Exception):
            return Examined([Fault.of(row, self._broken(row), "", f"cannot be read: {source}")])
        return self._examine(source, Attempts(row, source))

    def _examine(self, source: Mapping[str, Any], attempts: Attempts) -> Examined:
        columns, unpacker = self.unpacker.columns, self.unpacker
        told = attempts.make(columns.question, lambda: unpacker.told(source))
        given = {
            kind: attempts.make(
                _called(columns, kind), partial(unpacker.pictures, source, kind, told)
            )
            for kind in PICTURES
        }
        prompt = told.messages if told is not None else None
        question, pictured = None, bool(columns.image or columns.images)
        if prompt is not None and None not in given.values():
            question = attempts.make(columns.question, lambda: _asked(prompt, given, pictured))
        if question is not None:
            kind = next((kind for kind, pictures in given.items() if pictures), "question")
            images = _called(columns, kind)
            rewrites_in = self.rewrites_in
            examine_question(question, source, attempts, images, rewrites_in, self.takes)
        if told is not None and not unpacker.layout.videos_left_out:
            attempts.make(columns.question, lambda: check_tags(told, source))
        answer = attempts.make(columns.answer, lambda: self._answer(source, told))
        attempts.make(self.allowed_in, lambda: check_allowed(source, self.allowed_in))
        attempts.faults += written_faults(attempts.row, source)
        for name in unpacker.left:
            attempts.make(name, partial(unpacker.check_left, source, name))
        inside = _inside(prompt or ())
        return Examined(
            list(dict.fromkeys(attempts.faults)),
            None if any(not isinstance(p.source, Path) for p in inside) else prompt,
            answer,
            told.options if told is not None else (),
            value_at(source, columns.id),
            told is None or not unpacker.is_as_stored(source, told),
            told is None or any(not unpacker.stays(source, kind, told) for kind in PICTURES),
            len(given["image"] or ()) > 1,
        )

    def _broken(self, row: int) -> str:
        """The first column of a row that fails to read on its own."""
        for name in self.rows.column_names:
            try:
                self.rows.select_columns([name])[row]
            except Exception:  # Arrow raises many types on invalid text
                return name
        return ""

    def _answer(self, source: Mapping[str, Any], told: Told | None) -> str | None:
        text = self.unpacker.answer(source, told)
        if text is None:
            return None
        if self.graded_by and (reason := _ungraded(self.graded_by, text)):
            raise InputError(f"the accuracy reward cannot read the answer: {reason}")
        return text


@functools.lru_cache(maxsize=20_000)  # large data sets have few distinct answers
def _ungraded(graded_by: Callable[..., list[float]], answer: str) -> str | None:
    """Reason why a reward rejects the reference answer as a response; None if it accepts it."""
    if reason := references.fault(answer):
        return reason
    given = graded_by([references.perfect(answer)], answer=[answer])[0]
    return "it rejects the reference answer as a response" if given < 1 else None


def _called(columns: Columns, kind: str) -> str:
    """The column of a kind, or the first of several."""
    named = getattr(columns, kind)
    return (named[0] if isinstance(named, list) else named) or ""


def examine_question(
    question: Question,
    source: Mapping[str, Any],
    attempts: Attempts,
    images_in: str,
    rewrites_in: str | None,
    takes: Acceptance | None = None,
) -> None:
    """Check that the images of a question open and that its rewrites fit its images."""
    shown = pictures(question)
    for number, image in enumerate(shown, start=1):
        of = f"image {number} of {len(shown)}: " if len(shown) > 1 else ""
        attempts.make(images_in, partial(_look_at, image, of, takes))
    for text in attempts.make(rewrites_in, lambda: rewrites(source, rewrites_in)) or ():
        attempts.make(rewrites_in, partial(with_text, question, text))


class Attempts:
    """Collects the faults of a row; each failed attempt adds one and returns None."""

    def __init__(self, row: int, source: Mapping[str, Any]):
        self.row, self.source = row, source
        self.faults: list[Fault] = []

    def make(self, column: str | None, maker: Callable[[], Made]) -> Made | None:
        """Call `maker`; if it raises an InputError, record a fault of `column` and return None."""
        try:
            return maker()
        except InputError as error:
            # Errors of the schema name TRL's columns, but the user's columns have other names.
            words = re.sub(r"^column '[^']*':? ", "", str(error))
            value = self.source.get(column or "")
            self.faults.append(Fault.of(self.row, column or "", value, words))
            return None


def _asked(prompt: list[dict[str, Any]], given: Mapping[str, Any], pictured: bool) -> Question:
    """Read the question of a conversation and the images of columns exactly as training does.

    Args:
        prompt: The conversation.
        given: Images by kind of column.
        pictured: Whether the data set has an image column.
    """
    places = [f"the column of the {kind}" for kind, pictures in given.items() if pictures]
    places += ["the conversation"] * bool(_inside(prompt))
    if len(places) > 1:
        raise InputError(f"images in {' and in '.join(places)}: keep only one of them")
    shown = given["images"] or given["image"]
    _check_places(prompt, len(shown))
    images = {"images": shown or None} if pictured else {}
    return read({"prompt": prompt, **images})


def _check_places(prompt: Sequence[Mapping[str, Any]], images: int) -> None:
    """Reject a number of placeholders that differs from the number of images in the columns."""
    said = [turn["content"] for turn in prompt if turn["role"] == "user"]
    texts = [content for content in said if isinstance(content, str)]
    places = sum(text.count(IMAGE) for text in texts)
    if images and places and places != images:
        raise InputError(
            f"has {places} {IMAGE} for {images} images: write it once per image or not at all; if "
            "it is an ordinary word, reword the text"
        )


def _inside(prompt: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Images inside the messages of a conversation."""
    contents = [message["content"] for message in prompt]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [picture(part["image"]) for part in parts if part.get("image") is not None]


def _look_at(image: Picture, of: str, takes: Acceptance | None) -> None:
    try:
        opened = image.open()
        if takes is not None:
            takes.check(*opened.size)
    except InputError as error:
        raise InputError(f"{of}{error}") from error


def written_faults(row: int, source: Mapping[str, Any]) -> list[Fault]:
    """Faults of texts that are not valid UTF-8 or contain a NUL character."""
    attempts = Attempts(row, source)
    for name, value in source.items():
        attempts.make(name, partial(_check_written, value))
    return attempts.faults


def _check_written(value: Any) -> None:
    """Reject invalid text at any depth of a value."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"not UTF-8 at character {error.start}") from error
        if "\0" in value:
            raise InputError(f"a NUL at character {value.index(chr(0))}: remove it")
    elif isinstance(value, Mapping):
        _check_written([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            _check_written(item)


def check_allowed(source: Mapping[str, Any], column: str | None) -> None:
    """Reject a value of `column` that is not a list of transform names.

    Raises:
        InputError: Not a list, or an unknown transform.
    """
    allowed = source.get(column) if column else None
    if allowed is None:
        return
    if not isinstance(allowed, list):
        raise InputError("expected a list of transforms, or nothing")
    unknown = [name for name in allowed if not isinstance(name, str) or name not in TRANSFORMS]
    if unknown:
        raise InputError(f"no transform {unknown[0]!r}; there are {', '.join(TRANSFORMS)}")
