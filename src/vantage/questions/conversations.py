"""Convert stored conversations to TRL's format.

Supported are messages of OpenAI (`image_url` and `input_image` parts), LLaVA and ShareGPT (`from`,
`value`), The Cauldron (`user`, `assistant`), Qwen (`<img>path</img>`, `file://`), swift and
LLaMA-Factory. They become messages with a role, and a text or parts {"type": "text"} and
{"type": "image"}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vantage.errors import InputError
from vantage.questions import column_kinds
from vantage.questions.pictures import PLACES, Picture, picture
from vantage.questions.schema import in_parts

ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(column_kinds.ASSISTANT, "assistant"),
    **dict.fromkeys(("tool", "observation", "function"), "tool"),
}
TEXTS = ("text", "input_text", "output_text")
INLINE = re.compile(r"<img>([^<>\n]+)</img>")
LONGEST = 16_000_000  # characters of a conversation, a few million tokens
VIDEO = "videos and audio are not supported: give video frames as images, or leave the row out"


class Told(NamedTuple):
    """A question as a conversation.

    Attributes:
        messages: Messages in TRL's format, up to the question.
        answer: Text of the final assistant turn, which is not in `messages`; None without one.
        options: Option texts; the question already lists them.
        order: Numbers of the column images in the order of their placeholders, if the question
            refers to images by number; else None.
    """

    messages: list[dict[str, Any]]
    answer: str | None = None
    options: tuple[str, ...] = ()
    order: tuple[int, ...] | None = None

    @property
    def place(self) -> int:
        """Index of the turn to answer: the last user turn, or else the last turn."""
        users = [n for n, turn in enumerate(self.messages) if turn["role"] == "user"]
        return users[-1] if users else len(self.messages) - 1

    @property
    def asked(self) -> dict[str, Any]:
        """The turn to answer."""
        return self.messages[self.place]


def told(prompt: Any, root: Path | None) -> Told:
    """Convert a text or a conversation of any supported form.

    Args:
        prompt: The stored value.
        root: Directory of relative image paths.

    Raises:
        InputError: Any other value, an empty question, more than `LONGEST` characters, an invalid
            image, or a video.
    """
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        raise InputError("the question is empty")
    found = (column_kinds.conversation(prompt) or prompt) if isinstance(prompt, str) else prompt
    if isinstance(found, str):
        _check_length([{"content": found}])
        return Told([_message({"role": "user", "content": found}, root)])
    messages = _plain(found)
    answer = None
    if len(messages) > 1 and messages[-1].get("role") == "assistant":
        answer = said(messages.pop())
    _check_length(messages)
    return Told([_message(message, root) for message in messages], answer)


def _check_length(messages: Sequence[Mapping[str, Any]]) -> None:
    """Reject texts that are too long for a question and take minutes to process."""
    parts = (part for message in messages for part in in_parts(message["content"]))
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    characters = sum(len(text) for text in texts if isinstance(text, str))
    if characters > LONGEST:
        raise InputError(f"{characters:,} characters: a conversation has at most {LONGEST:,}")


def is_as_training_reads(prompt: Any) -> bool:
    """Whether a conversation needs no conversion: TRL's format, with images as bytes."""
    messages = column_kinds.conversation(prompt) if isinstance(prompt, list) else None
    if not messages or messages[-1].get("role") != "user":
        return False
    return all(_is_plain_content(message.get("content")) for message in messages)


def stored(image: Picture) -> dict[str, Any]:
    """An image in the form of an Arrow row: {"bytes": ..., "path": ...}."""
    if isinstance(image.source, Path):
        return {"bytes": None, "path": str(image.source)}
    return {"bytes": image.encoded(), "path": None}


def _is_plain_content(content: Any) -> bool:
    if isinstance(content, str):
        return not INLINE.search(content)
    return isinstance(content, list) and all(map(_is_plain_part, content))


def _is_plain_part(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    shown = part.get("type") == "image" and is_in_place(part.get("image"))
    return shown or part.get("type") == "text"


def is_in_place(value: Any) -> bool:
    """Whether training can read a stored image as it is: bytes, or an object with bytes."""
    held = value.get("bytes") if isinstance(value, Mapping) else value
    return value is None or isinstance(held, bytes | memoryview)


def _plain(prompt: Any) -> list[dict[str, Any]]:
    """Messages with the keys `role` and `content`, from any supported form."""
    found = prompt
    if isinstance(prompt, Mapping):
        found = next((prompt[n] for n in ("messages", "conversations") if n in prompt), None)
    if not isinstance(found, list) or not all(isinstance(message, Mapping) for message in found):
        raise InputError("expected a text or a conversation")
    return [plain for message in found for plain in _with_role(message)]


def _with_role(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    who, what = message.get("role") or message.get("from"), message.get("content")
    calls = what is None and bool(message.get("tool_calls"))
    if who is None and isinstance(message.get("user"), str):
        turns = [{"role": role, "content": message.get(role)} for role in ("user", "assistant")]
        return [turn for turn in turns if turn["content"] is not None]
    if what is None:
        what = message.get("value")
    if not isinstance(who, str) or not (calls or isinstance(what, str | list)):
        raise InputError("expected messages with a role, and a text or a list of parts as content")
    others = {name: value for name, value in message.items() if name not in ("from", "value")}
    return [{**others, "role": ROLES.get(who, who), "content": what}]


def _message(message: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    """Convert a message, with its images as bytes or full paths."""
    content = message["content"]
    if isinstance(content, str):
        content = _split(content)
    if isinstance(content, list):
        content = [_part(part, root) for part in content]
    return {**message, "content": content}


def _split(text: str) -> str | list[dict[str, Any]]:
    """Split a text at Qwen's <img>path</img>; a text without one is returned unchanged."""
    pieces = INLINE.split(text)
    if len(pieces) == 1:
        return text
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            parts.append({"type": "image", "image": piece})
        elif piece:
            parts.append({"type": "text", "text": piece})
    return parts


def _part(part: Any, root: Path | None) -> dict[str, Any]:
    if not isinstance(part, Mapping) or not isinstance(part.get("text"), str | None):
        raise InputError(
            "expected parts {'type': 'text', 'text': ...} and {'type': 'image', 'image': ...}"
        )
    kind = part.get("type")
    if any("video" in str(name) for name in (kind, *_filled(part))):
        raise InputError(f"a video in the conversation: {VIDEO}")
    shown = next((part[name] for name in PLACES if part.get(name) is not None), None)
    if shown is not None and kind in (None, "image", "image_url", "input_image"):
        return {"type": "image", "image": stored(picture(shown, root))}
    if part.get("text") is not None and (kind is None or kind in TEXTS):
        return {"type": "text", "text": part["text"]}
    return {name: part[name] for name in _filled(part)}


def _filled(part: Mapping[str, Any]) -> list[str]:
    """Keys with a value, since Arrow fills missing keys with None."""
    return [name for name, value in part.items() if value is not None]


def said(message: Mapping[str, Any]) -> str:
    """The text of a message, without images."""
    parts = in_parts(message.get("content", message.get("value")))
    return "".join(part.get("text") or "" for part in parts if isinstance(part, Mapping)).strip()
