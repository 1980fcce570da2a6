"""Detect what columns hold from a sample of values, without decoding or downloading images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from vantage.errors import InputError
from vantage.questions.pictures import DATA_URI, PLACES, inside, is_encoded, located, looks
from vantage.questions.schema import literal

SAMPLE = 500  # rows sampled to detect what a column holds
LONGEST = 1_000  # characters of a path
PICTURE_ENDING = re.compile(
    r"\.(?:png|jpe?g|jfif|webp|gif|bmp|tiff?|p[gnp]m|avif|jp2|heic|svg)\b", re.I
)
VIDEO_FILE = re.compile(r"\S*\.(?:mp4|m4v|avi|mov|mkv|webm|mpe?g|flv|wmv)", re.I)
# Beginnings and contents of lists and objects that are written as text.
OPENING = "[({"
BYTES = ("b'", 'b"')
NAMES = re.compile(r"""['"]\s*:""")
TURNS = re.compile(r"""['"](?:role|from|user)['"]\s*:""")
CODED = re.compile(r"data:image/|iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk0")
# Pairs of keys of a message: role and content.
MESSAGES = (("role", "content"), ("from", "value"), ("user", "assistant"))
# Kinds of values. If a column holds several kinds, the first one in this order counts. A link is
# the URL of an image, a path that of a missing image.
KINDS = ("picture", "video", "conversation", "link", "path", "texts", "text", "number", "other")

# Names of the assistant role in messages.
ASSISTANT = ("assistant", "gpt", "model", "bot", "chatgpt", "function_call")
# Kinds that can hold a question, and kinds that can hold an answer.
ASKING = ("text", "conversation", "path", "link")
ANSWERING = ("text", "texts", "number", "path", "link", "other", "conversation")


class Look(NamedTuple):
    """What a value holds.

    Attributes:
        place: Keys inside the value, separated by dots; empty for the value itself.
        kind: One of `KINDS`.
        several: Whether it is an item of a list.
    """

    place: str
    kind: str
    several: bool = False


class Held(NamedTuple):
    """What a column, or a place inside it, holds.

    Attributes:
        kind: One of `KINDS`, or "empty".
        several: Whether some of the values are in lists.
        seen: Number of values inspected.
        answered: Whether conversations end with an assistant turn.
        pictures: Whether conversations contain images.
    """

    kind: str
    several: bool = False
    seen: int = 0
    answered: bool = False
    pictures: bool = False


@dataclass(frozen=True)
class Data:
    """What is known about a data set before its layout is resolved.

    Attributes:
        source: Name of the data set for messages.
        names: Column names.
        held: What each column, and each place inside one, holds; see `column_kinds.held`.
        sample: Some of the rows.
    """

    source: str
    names: Sequence[str]
    held: Mapping[str, Held]
    sample: Sequence[Mapping[str, Any]]

    def kind(self, name: str) -> str:
        """The kind of a column or of a place inside one; "empty" if unknown."""
        return self.held[name].kind if name in self.held else "empty"

    def inside(self, name: str) -> list[str]:
        """Places inside a column that hold values."""
        return [place for place in self.held if place.startswith(f"{name}.")]

    def has(self, name: str) -> bool:
        """Whether a column, or a place inside one, has this name."""
        whole, dot, _ = name.partition(".")
        if name in self.names or not dot:
            return name in self.names
        known = self.inside(whole)
        return whole in self.names and (
            not known or name in known or any(is_in(place, [name]) for place in known)
        )

    def shows(self, name: str, kinds: Collection[str] = ("picture",)) -> bool:
        """Whether a column, or a place inside it, holds one of these kinds."""
        return any(self.kind(place) in kinds for place in (name, *self.inside(name)))

    def first(self, candidates: Iterable[str], kinds: Collection[str]) -> list[str]:
        """Candidates that exist and hold one of these kinds, in the order of `candidates`."""
        called = {name.lower(): name for name in reversed(self.names)}
        there = [name if self.has(name) else called.get(name, name) for name in candidates]
        return [name for name in there if self.has(name) and self.kind(name) in kinds]

    def same(self, name: str, other: str) -> bool:
        """Whether two columns have equal values in all rows of the sample."""
        return all(bare(value_at(r, name)) == bare(value_at(r, other)) for r in self.sample)


def value_at(row: Mapping[str, Any], name: str | None) -> Any:
    """The value of a column, or at a place inside one ("a.b"); None if it does not exist."""
    if name is None or name in row:
        return row.get(name) if name is not None else None
    found: Any = row
    for part in name.split("."):
        if isinstance(found, str) and found[:1] == "{":
            found = written(found)
        if isinstance(found, list):
            found = [item.get(part) for item in found if isinstance(item, Mapping)]
        else:
            found = found.get(part) if isinstance(found, Mapping) else None
    return found


def held(rows: Iterable[Mapping[str, Any]], root: Path | None) -> dict[str, Held]:
    """Detect what each column, and each place inside it, holds in some rows."""
    seen: dict[str, Counter[Look]] = {}
    talks: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            seen.setdefault(name, Counter())
            for look in look_at(value, root):
                place = ".".join(filter(None, (name, look.place)))
                seen.setdefault(place, Counter())[look._replace(place="")] += 1
                if look.kind == "conversation" and not look.place:
                    talks.setdefault(place, []).append(conversation(value))
    return {name: _summed(looks, talks.get(name, ())) for name, looks in seen.items()}


def look_at(value: Any, root: Path | None) -> Iterator[Look]:
    """Yield what a value holds, at any depth."""
    if conversation(value) is not None:
        yield Look("", "conversation")
    elif isinstance(value, Mapping):
        yield from _in_object(value, root)
    elif isinstance(value, list | tuple):
        looks = (look for item in value for look in look_at(item, root))
        yield from (look._replace(several=True) for look in looks)
    elif isinstance(value, str) and value[:1] in (*OPENING, "b") and (found := written(value)):
        yield from look_at(found, root)
    else:
        kind = _kind(value, root)
        if kind:
            yield Look("", kind)


def written(text: str) -> list[Any] | dict[str, Any] | bytes | None:
    """Parse an object, bytes or a list of images from a text; None if it contains none."""
    if text[:2] in BYTES:
        found = literal(text)
    elif text[:1] == "{":
        found = literal(text) if text.rstrip()[-1:] == "}" and NAMES.search(text) else None
    else:
        found = literal(text) if PICTURE_ENDING.search(text) or CODED.search(text[:400]) else None
    return found if isinstance(found, list | dict | bytes) else None


def conversation(value: Any) -> list[Mapping[str, Any]] | None:
    """The messages of a conversation in any supported form; None for anything else."""
    if isinstance(value, str) and value.lstrip()[:1] in OPENING and TURNS.search(value):
        value = literal(value)
    if isinstance(value, Mapping):
        value = next((value[name] for name in ("messages", "conversations") if name in value), None)
    if not isinstance(value, list) or not value:
        return None
    messages = [message for message in value if isinstance(message, Mapping)]
    talks = len(messages) == len(value) and all(
        any(who in message and what in message for who, what in MESSAGES) for message in messages
    )
    return messages if talks else None


def said_by_assistant(message: Mapping[str, Any]) -> bool:
    """Whether a message, in any supported form, is an assistant turn."""
    if "assistant" in message and "role" not in message:
        return True
    return (message.get("role") or message.get("from")) in ASSISTANT


def _summed(looks: Counter[Look], talks: Sequence[list[Mapping[str, Any]]]) -> Held:
    total = looks.total()
    if not total:
        return Held("empty")
    counts: Counter[str] = Counter()
    for look, count in looks.items():
        counts[look.kind] += count
    # A URL or missing file among ordinary texts is itself a text that happens to look like one.
    there = [
        kind
        for kind in KINDS
        if counts[kind] and (kind not in ("link", "path") or counts[kind] == total)
    ]
    kind = there[0] if there else "text"
    several = any(look.several for look in looks if look.kind == kind)
    if kind == "text" and several:
        kind = "texts"
    return Held(
        kind,
        several,
        total,
        any(said_by_assistant(talk[-1]) for talk in talks),
        any(_has_pictures(message) for talk in talks for message in talk),
    )


def _has_pictures(message: Mapping[str, Any]) -> bool:
    content = message.get("content", message.get("value"))
    parts = content if isinstance(content, list) else []
    return any(
        isinstance(part, Mapping) and any(part.get(name) is not None for name in PLACES)
        for part in parts
    )


def _in_object(value: Mapping[str, Any], root: Path | None) -> Iterator[Look]:
    """Yield the image of an object, or else what its values hold."""
    found = inside(value)
    kind = _kind(found, root)
    if kind in ("picture", "link", "path", "video"):
        yield Look("", kind)
        return
    for name, held in value.items():
        for look in look_at(held, root):
            yield look._replace(place=".".join(filter(None, (str(name), look.place))))


def _kind(value: Any, root: Path | None) -> str | None:
    if value is None or (isinstance(value, str | bytes | memoryview) and not len(value)):
        return None
    if isinstance(value, Image.Image):
        return "picture"
    if isinstance(value, bytes | memoryview):
        coded = is_encoded(bytes(value[:LONGEST]).decode("ascii", "replace"))
        return looks(value) or ("picture" if coded else "other")
    if isinstance(value, str):
        return _kind_of_text(value, root)
    return "number" if isinstance(value, int | float | Decimal) else "other"


def _kind_of_text(text: str, root: Path | None) -> str:
    if text.startswith("data:") and not text.startswith("data:image/") and DATA_URI.match(text):
        return "video" if text.startswith("data:video/") else "picture"
    if is_encoded(text):
        return "picture"
    name = text.partition("?")[0] if "://" in text else text
    name = name.strip() if len(name) <= LONGEST else ""
    _, dot, ending = name[-6:].rpartition(".")  # a cheap test that settles most texts
    if not dot or "\n" in name:
        return "text"
    if VIDEO_FILE.fullmatch(name):
        return "video"
    if not PICTURE_ENDING.fullmatch(f".{ending}"):
        return "text"
    if "://" in name and not name.startswith("file://"):
        return "text" if " " in name else "link"
    try:
        return "picture" if located(text, root).is_file() else "path"
    except (InputError, OSError, ValueError):
        return "path"


def is_in(place: str, names: Collection[str]) -> bool:
    """Whether a place is one of these columns or inside one."""
    return any(place == name or place.startswith(f"{name}.") for name in names)


def bare(value: Any) -> Any:
    """Unwrap a value from lists of length one and from an image object."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return inside(value)
