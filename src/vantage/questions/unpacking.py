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
from vantage.questions.schema import IMAGE, literal
from vantage.rewards.choice import LETTERS

MOST_EXACT = 2**53  # whole numbers up to it have no rounded digits
LAST_NUMBER = re.compile(r"\d+$")
OTHER_TAGS = re.compile(r"<(?:video|audio)>")
# What swift fills from a column of objects.
GROUNDING = re.compile(r"<(?:ref-object|bbox)>")
# A picture file that Markdown or HTML shows inside a text.
SHOWN = re.compile(
    r"""!\[[^\]\n]*\]\(\s*([^)\s]+)|<img\b[^<>]*?\bsrc\s*=\s*["']?([^"'<>\s]+)""", re.I
)
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
            InputError: no question, something that is none, or options that cannot be read.
        """
        asked = self._question(row)
        found = told(asked, self.root)
        if isinstance(asked, str):
            found = _behind(row.get("history"), found)
        if row.get("system") and isinstance(row["system"], str):
            found = _after(row["system"], found)
        options = tuple(options_of(row, self.columns)) if with_options else ()
        return self._placed(row, _with_options(found, options) if options else found)

    def pictures(
        self, row: Mapping[str, Any], kind: str, question: Told | None = None
    ) -> list[Picture]:
        """The pictures in the columns of `image` or `images` of a row, one or several in each.

        Args:
            row: of the data.
            kind: "image" or "images".
            question: of the row, which may mention its pictures by number.

        Raises:
            InputError: something that is no picture.
        """
        shown = self.shown(row, kind)
        if shown and question is not None and question.order is not None:
            known = self._by_number(row, 0 in question.order)
            shown = [known[number] for number in question.order]
        return [self._picture(value) for value in shown]

    def shown(self, row: Mapping[str, Any], kind: str) -> list[Any]:
        """The pictures of a row as they are stored."""
        named = getattr(self.columns, kind)
        names = named if isinstance(named, list) else [named]
        return [one for name in names for one in _each(value_at(row, name))]

    def is_as_stored(self, row: Mapping[str, Any], question: Told) -> bool:
        """Whether the conversation of a row is read as it stands in its column."""
        stored = value_at(row, self.columns.question)
        if not is_as_training_reads(stored) or question.options or row.get("system"):
            return False
        return _texts(stored) == _texts(question.messages)

    def stays(self, row: Mapping[str, Any], kind: str, question: Told) -> bool:
        """Whether training can read the pictures of a row in the column where they stand."""
        name = getattr(self.columns, kind)
        if name is None:
            return True
        if isinstance(name, list) or name not in row:
            return False
        value = row[name]
        lists = value is None or isinstance(value, list) == (kind == "images")
        return lists and question.order is None and all(map(is_in_place, _each(value)))

    def answer(self, row: Mapping[str, Any], question: Told | None) -> str | None:
        """The reference answer as text; None where the layout has none.

        Raises:
            InputError: an empty answer, or something that is none.
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
        """Refuse pictures and videos in a column that is for nothing.

        Raises:
            InputError: there is one; says how to map it.
        """
        value = row.get(name)
        if value is None or value == "" or value == []:
            return
        seen = {look.kind for look in column_kinds.look_at(value, self.root)}
        if name in self.layout.without_videos and ("video" in seen or VIDEOS.fullmatch(name)):
            raise InputError(f"{VIDEO}; columns: {{videos: null}} says that it is not asked about")
        if name in self.layout.without_pictures and "picture" in seen:
            raise InputError(
                "holds a picture, which the model would not see: to use it write columns: "
                f"{{images: {name}}}, to leave it out columns: {{images: null}}"
            )

    def _placed(self, row: Mapping[str, Any], question: Told) -> Told:
        """The question with `<image>` for pictures that it mentions in another way."""
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
                f"has {tokens[0]} {len(tokens)} times for {len(known)} pictures: write {IMAGE} "
                "once for each picture, or not at all"
            )
        return _written(question, places, [TOKENS.sub(IMAGE, text) for text in texts])

    def _check_shown(self, text: str, known: Mapping[int, Any]) -> None:
        """Refuse a picture that is shown inside a text, where no column has one.

        Raises:
            InputError: there is one.
        """
        if known or self.layout.pictures_left_out:
            return
        for groups in SHOWN.findall(text):
            shown = groups[0] or groups[1]
            if {look.kind for look in column_kinds.look_at(shown, self.root)} & {"picture", "link"}:
                raise InputError(
                    f"the text shows a picture, {shown[:80]!r}, which the model would not see: "
                    f"give it in a column and write {IMAGE} in its place, or write columns: "
                    "{images: null} to leave such pictures out"
                )

    def _by_number(self, row: Mapping[str, Any], from_zero: bool) -> dict[int, Any]:
        """The pictures of a row by the number of their column (image_3), or by their place."""
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
    """Refuse places for a video or a sound, and those that swift fills from `objects`.

    Raises:
        InputError: the question has one.
    """
    for message in question.messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else content or ()
        said = "".join(part if isinstance(part, str) else part.get("text") or "" for part in parts)
        if found := OTHER_TAGS.search(said):
            raise InputError(f"{found[0]} in the question: {VIDEO}")
        if row.get("objects") and (found := GROUNDING.search(said)):
            raise InputError(f"{found[0]} in the question: write out what stands in `objects`")


def _texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The contents that are texts."""
    return [one["content"] for one in messages if isinstance(one["content"], str)]


def _each(value: Any) -> list[Any]:
    """The pictures in a value: one, lists or objects of them, or a text that holds either."""
    if isinstance(value, str) and (value[:1] in ("[", "{") or value[:2] in column_kinds.BYTES):
        value = literal(value)
    if isinstance(value, Mapping) and value and all(map(LAST_NUMBER.search, value)):
        value = list(value.values())  # {"image_1": ..., "image_2": ...}
    if isinstance(value, list | tuple):
        return [one for inner in value for one in (_each(inner) or [inner])]
    return [] if value is None or value == "" else [value]


def _after(system: str, question: Told) -> Told:
    """The question behind a system message, where it has none."""
    if question.messages[0]["role"] == "system":
        return question
    return question._replace(messages=[{"role": "system", "content": system}, *question.messages])


def _behind(history: Any, question: Told) -> Told:
    """The question behind earlier ones and their answers, pairs of texts."""
    pairs = history if isinstance(history, list) else []
    turns = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=False)
    ]
    return question._replace(messages=[*turns, *question.messages]) if turns else question


def _written(question: Told, places: Sequence[int], texts: Sequence[str]) -> Told:
    """The question with other texts in some messages."""
    messages = [*question.messages]
    for place, text in zip(places, texts, strict=True):
        messages[place] = {**messages[place], "content": text}
    return question._replace(messages=messages)


def _with_options(question: Told, options: tuple[str, ...]) -> Told:
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
    return question._replace(messages=messages, options=options)


def with_listing(text: str, options: Sequence[str]) -> str:
    """A text with the options behind it, where it does not list as many itself."""
    listed = len(lettered(text)) >= len(options)
    return text if listed or not options else text + listing(tuple(options))


def _text(value: Any) -> str:
    """A reference answer as text."""
    talk = column_kinds.conversation(value)
    if talk is not None:
        value = said(talk[-1])
    if isinstance(value, list) and len({str(one).strip() for one in value}) == 1:
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError("the answer is empty")
    if isinstance(value, list):
        raise InputError(
            f"the answer is a list of {len(value)}, expected one text or number a row: write the "
            "one that counts, or as a text all that are asked for (A, C)"
        )
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
