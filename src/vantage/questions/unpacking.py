"""Read the conversation, images, options and answer of a row in any layout."""

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
from vantage.questions import column_kinds
from vantage.questions.column_kinds import value_at
from vantage.questions.conversations import (
    VIDEO,
    Told,
    is_as_training_reads,
    is_in_place,
    said,
    told,
)
from vantage.questions.layouts import VIDEOS, Columns, Layout
from vantage.questions.options import lettered, letters_of, listing, options_of
from vantage.questions.picture_placement import NUMBERED, TOKENS, numbered
from vantage.questions.pictures import Picture, inside, picture
from vantage.questions.schema import IMAGE, in_parts, literal
from vantage.rewards.choice import LETTERS

MOST_EXACT = 2**53  # float64 represents all integers up to this exactly
LAST_NUMBER = re.compile(r"\d+$")
OTHER_TAGS = re.compile(r"<(?:video|audio)>")
# Placeholders that swift fills from the column `objects`.
GROUNDING = re.compile(r"<(?:ref-object|bbox)>")
# An image embedded in a text by Markdown or HTML.
SHOWN = re.compile(
    r"""!\[[^\]\n]*\]\(\s*([^)\s]+)|<img\b[^<>]*?\bsrc\s*=\s*["']?([^"'<>\s]+)""", re.I
)
# Columns appended to a question: LLaMA-Factory keeps the text it refers to in `input`.
BEHIND = {"instruction": "input"}


@dataclass(frozen=True)
class Unpacker:
    """Reads the rows of a layout.

    Attributes:
        layout: Roles of the columns.
        root: Directory that relative image paths start from and that no path may leave.
    """

    layout: Layout
    root: Path | None = None

    @property
    def columns(self) -> Columns:
        """The columns of the layout."""
        return self.layout.columns

    @functools.cached_property
    def left(self) -> tuple[str, ...]:
        """Columns without a role, in which an image or a video is an error."""
        layout = self.layout
        return tuple(dict.fromkeys((*layout.without_pictures, *layout.without_videos)))

    def told(self, row: Mapping[str, Any], *, with_options: bool = True) -> Told:
        """Read the question as a conversation, with its options appended.

        Raises:
            InputError: A missing or invalid question, or options that cannot be read.
        """
        asked = self._question(row)
        found = told(asked, self.root)
        if isinstance(asked, str):
            found = _behind(row.get("history"), found)
        if row.get("system") and isinstance(row["system"], str):
            found = _after(row["system"], found)
        options = tuple(options_of(row, self.columns.options)) if with_options else ()
        return self._placed(row, _with_options(found, options) if options else found)

    def pictures(
        self, row: Mapping[str, Any], kind: str, question: Told | None = None
    ) -> list[Picture]:
        """Read the images of a row from the columns of `image` or `images`.

        Args:
            row: A row of the data set.
            kind: "image" or "images".
            question: The row's question, which may refer to images by number.

        Raises:
            InputError: A value that is not an image.
        """
        shown = self.shown(row, kind)
        if shown and question is not None and question.order is not None:
            known = self._by_number(row, 0 in question.order)
            shown = [known[number] for number in question.order]
        return [self._picture(value) for value in shown]

    def shown(self, row: Mapping[str, Any], kind: str) -> list[Any]:
        """The stored image values of a row."""
        named = getattr(self.columns, kind)
        names = named if isinstance(named, list) else [named]
        return [one for name in names for one in _each(value_at(row, name))]

    def is_as_stored(self, row: Mapping[str, Any], question: Told) -> bool:
        """Whether the stored conversation of a row is used unchanged."""
        stored = value_at(row, self.columns.question)
        if not is_as_training_reads(stored) or question.options or row.get("system"):
            return False
        return _texts(stored) == _texts(question.messages)

    def stays(self, row: Mapping[str, Any], kind: str, question: Told) -> bool:
        """Whether training can read the images of a row from their original column."""
        name = getattr(self.columns, kind)
        if name is None:
            return True
        if isinstance(name, list) or name not in row:
            return False
        value = row[name]
        lists = value is None or isinstance(value, list) == (kind == "images")
        return lists and question.order is None and all(map(is_in_place, _each(value)))

    def answer(self, row: Mapping[str, Any], question: Told | None) -> str | None:
        """Read the reference answer as text; None if the layout has no answers.

        Raises:
            InputError: An empty or invalid answer.
        """
        if self.layout.answered:
            return _text(question.answer) if question is not None else None
        if self.columns.answer is None:
            return None
        value = value_at(row, self.columns.answer)
        options = question.options if question is not None else ()
        if isinstance(value, list) and len(value) > 1 and options:
            several = [letters_of(str(one), options) for one in value]
            if all(len(one) == 1 for one in several):
                return ", ".join(sorted(several))
        text = _text(value)
        first = self.layout.counted_from
        if first is not None and options:
            if not (text.isdecimal() and first <= int(text) < first + len(options)):
                counted = f"there are {len(options)}, counted from {first}"
                raise InputError(f"the answer is option {text}, and {counted}")
            return LETTERS[int(text) - first]
        letters = letters_of(text, options) if options else ""
        return letters if len(letters) == 1 else text

    def check_left(self, row: Mapping[str, Any], name: str) -> None:
        """Reject images and videos in a column without a role.

        Raises:
            InputError: Explains how to map or ignore the column.
        """
        value = row.get(name)
        if value is None or value == "" or value == []:
            return
        seen = {look.kind for look in column_kinds.look_at(value, self.root)}
        if name in self.layout.without_videos and ("video" in seen or VIDEOS.fullmatch(name)):
            raise InputError(f"{VIDEO}; if no question needs it, set columns: {{videos: null}}")
        if name in self.layout.without_pictures and "picture" in seen:
            raise InputError(
                "holds an image that the model would not see: to use it, set columns: "
                f"{{images: {name}}}; to ignore it, set columns: {{images: null}}"
            )

    def _placed(self, row: Mapping[str, Any], question: Told) -> Told:
        """Replace other image placeholders in the question with `<image>`."""
        places = [
            place
            for place, message in enumerate(question.messages)
            if message["role"] == "user" and isinstance(message["content"], str)
        ]
        texts = [question.messages[place]["content"] for place in places]
        said = "\n".join(texts)
        if not said or IMAGE in said:
            return question
        mentioned = {int(number) for number in NUMBERED.findall(said)}
        known = self._by_number(row, 0 in mentioned)
        if mentioned and known:
            written, order = numbered(texts, list(known))
            return _written(question, places, written)._replace(order=order)
        tokens = TOKENS.findall(said) if known else []
        if not tokens:
            self._check_shown(said, known)
            return question
        if len(tokens) != len(known):
            raise InputError(
                f"has {tokens[0]} {len(tokens)} times for {len(known)} images: write {IMAGE} "
                "once per image or not at all"
            )
        return _written(question, places, [TOKENS.sub(IMAGE, text) for text in texts])

    def _check_shown(self, text: str, known: Mapping[int, Any]) -> None:
        """Reject an image embedded in a text if the row has no image in a column.

        Raises:
            InputError: The text embeds an image.
        """
        if known or self.layout.pictures_left_out:
            return
        for groups in SHOWN.findall(text):
            shown = groups[0] or groups[1]
            if {look.kind for look in column_kinds.look_at(shown, self.root)} & {"picture", "link"}:
                raise InputError(
                    f"the text embeds an image, {shown[:80]!r}, that the model would not see: "
                    f"give it in a column and write {IMAGE} in its place, or set columns: "
                    "{images: null} to ignore such images"
                )

    def _by_number(self, row: Mapping[str, Any], from_zero: bool) -> dict[int, Any]:
        """The images of a row by the number of their column (image_3), or else by position."""
        names = self.columns.images
        if isinstance(names, list):
            known = [(LAST_NUMBER.search(name), value_at(row, name)) for name in names]
            if all(number for number, _ in known):
                return {int(n[0]): value for n, value in known if n and value not in (None, "")}
        shown = self.shown(row, "images") or self.shown(row, "image")
        return dict(enumerate(shown, start=0 if from_zero else 1))

    def _picture(self, value: Any) -> Picture:
        found = inside(value)
        if isinstance(found, str) and column_kinds.VIDEO_FILE.fullmatch(found.strip()):
            raise InputError(VIDEO)
        return picture(value, self.root)

    def _question(self, row: Mapping[str, Any]) -> Any:
        found = value_at(row, self.columns.question)
        behind = BEHIND.get(self.columns.question or "")
        more = row.get(behind) if behind else None
        if isinstance(found, str) and isinstance(more, str) and more.strip():
            return f"{found}\n{more}"
        return found


def check_tags(question: Told, row: Mapping[str, Any]) -> None:
    """Reject placeholders for videos and audio, and those that swift fills from `objects`.

    Raises:
        InputError: The question contains such a placeholder.
    """
    for message in question.messages:
        said = "".join(part.get("text") or "" for part in in_parts(message["content"]))
        if found := OTHER_TAGS.search(said):
            raise InputError(f"{found[0]} in the question: {VIDEO}")
        if row.get("objects") and (found := GROUNDING.search(said)):
            raise InputError(f"{found[0]} in the question: replace it with the text in `objects`")


def _texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The contents of the messages whose content is a text."""
    return [one["content"] for one in messages if isinstance(one["content"], str)]


def _each(value: Any) -> list[Any]:
    """The images in a value: one, a list or object of them, or a text that contains either."""
    if isinstance(value, str) and (value[:1] in ("[", "{") or value[:2] in column_kinds.BYTES):
        value = literal(value)
    if isinstance(value, Mapping) and value and all(map(LAST_NUMBER.search, value)):
        value = list(value.values())  # {"image_1": ..., "image_2": ...}
    if isinstance(value, list | tuple):
        return [one for inner in value for one in (_each(inner) or [inner])]
    return [] if value is None or value == "" else [value]


def _after(system: str, question: Told) -> Told:
    """Prepend a system message if the question has none."""
    if question.messages[0]["role"] == "system":
        return question
    return question._replace(messages=[{"role": "system", "content": system}, *question.messages])


def _behind(history: Any, question: Told) -> Told:
    """Prepend earlier turns, given as (question, answer) pairs."""
    pairs = history if isinstance(history, list) else []
    turns = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=False)
    ]
    return question._replace(messages=[*turns, *question.messages]) if turns else question


def _written(question: Told, places: Sequence[int], texts: Sequence[str]) -> Told:
    """Replace the texts of some messages."""
    messages = [*question.messages]
    for place, text in zip(places, texts, strict=True):
        messages[place] = {**messages[place], "content": text}
    return question._replace(messages=messages)


def _with_options(question: Told, options: tuple[str, ...]) -> Told:
    """Append options to the question, unless its text already lists them."""
    content = question.asked["content"]
    if isinstance(content, str):
        listed: Any = with_listing(content, options)
    else:
        said = "".join(part.get("text") or "" for part in content)
        more = with_listing(said, options).removeprefix(said)
        listed = [*content, {"type": "text", "text": more}] if more else content
    messages = [*question.messages]
    messages[question.place] = {**question.asked, "content": listed}
    return question._replace(messages=messages, options=options)


def with_listing(text: str, options: Sequence[str]) -> str:
    """Append options to a text, unless it already lists at least as many."""
    listed = len(lettered(text)) >= len(options)
    return text if listed or not options else text + listing(tuple(options))


def _text(value: Any) -> str:
    """Convert a reference answer to text."""
    talk = column_kinds.conversation(value)
    if talk is not None:
        value = said(talk[-1])
    if isinstance(value, list) and len({str(one).strip() for one in value}) == 1:
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError("the answer is empty")
    if isinstance(value, list):
        raise InputError(
            f"the answer is a list of {len(value)}, expected one text or number per row: keep the "
            "right one, or write all required ones as one text (A, C)"
        )
    if isinstance(value, bool):
        raise InputError(
            "the answer is a bool: write it as a text, such as yes and no or True and False"
        )
    if not isinstance(value, str | int | float | Decimal):
        raise InputError(f"the answer is a {type(value).__name__}, expected a text or a number")
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise InputError(f"the answer is {value}, expected a text or a finite number")
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """Undo float artefacts: 3.0 becomes 3, and 0.1 stored in 32 bits becomes 0.1."""
    if value.is_integer() and abs(value) < MOST_EXACT:
        return str(int(value))
    short = np.float32(value)
    return str(short) if float(short) == value else str(value)
