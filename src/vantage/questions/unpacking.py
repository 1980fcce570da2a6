"""What is asked in a row, whichever the layout: conversation, pictures, options and answer."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from vantage.errors import InputError
from vantage.questions import kinds
from vantage.questions.conversations import (
    VIDEO,
    Told,
    is_as_training_reads,
    is_in_place,
    said,
    told,
)
from vantage.questions.kinds import value_at
from vantage.questions.layouts import VIDEOS, Columns, Layout
from vantage.questions.options import letter_of, lettered, listing, options_of
from vantage.questions.pictures import Picture, picture
from vantage.questions.placing import NUMBERED, place
from vantage.questions.schema import IMAGE, Question, texts
from vantage.rewards.choice import LETTERS

MOST_EXACT = 2**53  # whole numbers up to it have no rounded digits
LAST_NUMBER = re.compile(r"\d+$")
VIDEO_TAG = "<video>"
# Columns that belong to a question: what LLaMA-Factory asks it about.
BEHIND = {"instruction": "input"}


@dataclass(frozen=True)
class Unpacker:
    """Reads rows of a layout.

    Attributes:
        layout: what their columns are for.
        root: where paths of pictures start, and what they may not leave.
    """

    layout: Layout
    root: Path | None = None

    @property
    def columns(self) -> Columns:
        """Which columns hold what."""
        return self.layout.columns

    @functools.cached_property
    def left(self) -> tuple[str, ...]:
        """Columns that are for nothing, in which there must be no picture or no video."""
        layout = self.layout
        return tuple(dict.fromkeys((*layout.without_pictures, *layout.without_videos)))

    def told(self, row: Mapping[str, Any], *, with_options: bool = True) -> Told:
        """The question as a conversation, its options behind it, and the answer inside it.

        Raises:
            InputError: no question, or something that is none.
        """
        asked = self._question(row)
        numbered = self._numbered(row, asked)
        found = told(asked if numbered is None else numbered.text, self.root)
        if row.get("system") and isinstance(row["system"], str):
            found = _after(row["system"], found)
        options = self.options(row) if with_options else []
        return _with_options(found, options) if options else found

    def pictures(self, row: Mapping[str, Any], kind: str) -> list[Picture]:
        """The pictures in the columns of `image` or `images` of a row, one or several in each.

        Raises:
            InputError: something that is no picture.
        """
        found = [picture(value, self.root) for value in self.shown(row, kind)]
        numbered = self._numbered(row, self._question(row)) if found else None
        return found if numbered is None else list(numbered.images)

    def shown(self, row: Mapping[str, Any], kind: str) -> list[Any]:
        """The pictures of a row as they are stored."""
        named = getattr(self.columns, kind)
        names = named if isinstance(named, list) else [named]
        return [one for name in names for one in _each(value_at(row, name))]

    def is_as_stored(self, row: Mapping[str, Any]) -> bool:
        """Whether the conversation of a row is read as it stands in its column."""
        plain = is_as_training_reads(value_at(row, self.columns.question))
        return plain and not self.options(row) and not row.get("system")

    def stays(self, row: Mapping[str, Any], kind: str) -> bool:
        """Whether training can read the pictures of a row in the column where they stand."""
        name = getattr(self.columns, kind)
        if name is None:
            return True
        asked = self._question(row)
        if isinstance(name, list) or name not in row:
            return False
        value = row[name]
        lists = value is None or isinstance(value, list) == (kind == "images")
        ordered = not (isinstance(asked, str) and NUMBERED.search(asked))
        return lists and ordered and all(map(is_in_place, _each(value)))

    def options(self, row: Mapping[str, Any]) -> list[str]:
        """The texts of the options of a row; empty where it has none.

        Raises:
            InputError: something else than options.
        """
        return options_of(row, self.columns)

    def answer(self, row: Mapping[str, Any], question: Told | None) -> str | None:
        """The reference answer as text; None where the layout has none.

        Raises:
            InputError: an empty answer, or something that is none.
        """
        if self.layout.answered:
            return _text(question.answer) if question is not None else None
        if self.columns.answer is None:
            return None
        text = _text(value_at(row, self.columns.answer))
        options = self.options(row)
        if self.layout.indexed and options:
            if int(text) >= min(len(options), len(LETTERS)):
                raise InputError(f"the answer is option {text}, and there are {len(options)}")
            return LETTERS[int(text)]
        return (letter_of(text, options) if options else None) or text

    def check_left(self, row: Mapping[str, Any], name: str) -> None:
        """Refuse pictures and videos in a column that is for nothing.

        Raises:
            InputError: there is one; says how to map it.
        """
        value = row.get(name)
        if value is None or value == "" or value == []:
            return
        seen = {look.kind for look in kinds.look_at(value, self.root)}
        if name in self.layout.without_videos and ("video" in seen or VIDEOS.fullmatch(name)):
            raise InputError(f"{VIDEO}; columns: {{videos: null}} says that it is not asked about")
        if name in self.layout.without_pictures and "picture" in seen:
            raise InputError(
                "holds a picture, which the model would not see: to use it write columns: "
                f"{{images: {name}}}, to leave it out columns: {{images: null}}"
            )

    def _numbered(self, row: Mapping[str, Any], asked: Any) -> Question | None:
        """A text that mentions its pictures as <image 1>, with them in that order."""
        if not isinstance(asked, str) or not NUMBERED.search(asked) or IMAGE in asked:
            return None
        there = {number: picture(one, self.root) for number, one in self._by_number(row).items()}
        return place(asked, there) if there else None

    def _by_number(self, row: Mapping[str, Any]) -> dict[int, Any]:
        """The pictures of a row by the number of their column (image_3), or by their place."""
        names = self.columns.images
        if isinstance(names, list):
            known = [(LAST_NUMBER.search(name), value_at(row, name)) for name in names]
            if all(number for number, _ in known):
                return {int(n[0]): value for n, value in known if n and value not in (None, "")}
        shown = self.shown(row, "images") or self.shown(row, "image")
        return dict(enumerate(shown, start=1))

    def _question(self, row: Mapping[str, Any]) -> Any:
        found = value_at(row, self.columns.question)
        behind = BEHIND.get(self.columns.question or "")
        more = row.get(behind) if behind else None
        if isinstance(found, str) and isinstance(more, str) and more.strip():
            return f"{found}\n{more}"
        return found


def check_no_video(question: Told) -> None:
    """Refuse a place for a video.

    Raises:
        InputError: the question has one.
    """
    for message in question.messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else content or ()
        texts = [part if isinstance(part, str) else part.get("text") or "" for part in parts]
        if any(VIDEO_TAG in text for text in texts):
            raise InputError(f"{VIDEO_TAG} in the question: {VIDEO}")


def _each(value: Any) -> list[Any]:
    """The pictures in a value: one, a list of them, or a text that holds a list."""
    if isinstance(value, str) and value[:1] == "[":
        value = texts(value, "images")
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None or value == "" else [value]


def _after(system: str, question: Told) -> Told:
    """The question behind a system message, where it has none."""
    if question.messages[0]["role"] == "system":
        return question
    return question._replace(messages=[{"role": "system", "content": system}, *question.messages])


def _with_options(question: Told, options: list[str]) -> Told:
    """The question with its options, where it does not list them itself."""
    content = question.asked["content"]
    if isinstance(content, str):
        listed: Any = with_listing(content, options)
    else:
        said = "".join(part.get("text") or "" for part in content)
        more = with_listing(said, options).removeprefix(said)
        listed = [*content, {"type": "text", "text": more}] if more else content
    messages = [*question.messages]
    messages[question.place] = {**question.asked, "content": listed}
    return question._replace(messages=messages)


def with_listing(text: str, options: Sequence[str]) -> str:
    """A text with the options behind it, where it does not list as many itself."""
    listed = len(lettered(text)) >= len(options)
    return text if listed or not options else text + listing(tuple(options))


def _text(value: Any) -> str:
    """A reference answer as text."""
    talk = kinds.conversation(value)
    if talk is not None:
        value = said(talk[-1])
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError("the answer is empty")
    if isinstance(value, list):
        raise InputError(f"the answer is a list of {len(value)}, expected one text or number a row")
    if isinstance(value, bool):
        raise InputError(
            "the answer is a bool: write it as a text, as yes and no or True and False"
        )
    if not isinstance(value, str | int | float | Decimal):
        raise InputError(f"the answer is a {type(value).__name__}, expected a text or a number")
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise InputError(f"the answer is {value}, expected a text or a finite number")
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """A number as it was written before it was stored: 3 of 3.0, 0.1 of 32 bits."""
    if value.is_integer() and abs(value) < MOST_EXACT:
        return str(int(value))
    short = np.float32(value)
    return str(short) if float(short) == value else str(value)
