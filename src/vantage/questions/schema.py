"""What a row of a data set must have, and how it becomes a prompt.

Inside vantage a question is one text, with `<image>` where each image stands, plus its
images. A row is what TRL takes: `prompt` (a conversation or a text) and `image` or
`images`; placeholders may be written in the text or as parts of the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from vantage.errors import InputError

IMAGE = "<image>"
LEAD = re.compile(rf"(?:{IMAGE}\s*)+")


@dataclass(frozen=True)
class Question:
    """One training item.

    Attributes:
        text: the question, `<image>` where each image stands.
        images: its images, in order.
        earlier: messages before the question (a system prompt, earlier turns); None for a
            plain text prompt, to which no chat template is applied.
    """

    text: str
    images: tuple[Any, ...] = ()
    earlier: tuple[Mapping[str, Any], ...] | None = ()


def read(row: Mapping[str, Any]) -> Question:
    """The question of a row in TRL's format.

    Images inside the conversation count rather than those of the columns.

    Raises:
        InputError: no prompt, an empty one, something that is no picture, or `<image>` written
            another number of times than the row has images; names the column and the value.
    """
    prompt = row.get("prompt")
    images = _images(row)
    if isinstance(prompt, str):
        if images:
            raise InputError(
                "column 'prompt' is a plain text but the row has images: "
                "give a conversation, [{'role': 'user', 'content': ...}]"
            )
        return Question(_checked(prompt, 0), earlier=None)
    if not isinstance(prompt, Sequence) or not prompt or not _is_asked(prompt[-1]):
        raise InputError(
            f"column 'prompt' is {str(prompt)[:80]!r}: "
            "expected a text or a conversation that ends with the user's question"
        )
    *earlier, (text, inline) = [_flatten(message) for message in prompt]
    for words, pictures in earlier:
        _check_places(words, len(pictures))
    return with_text(Question("", inline or images, tuple(prompt[:-1])), text)


def with_text(question: Question, text: str) -> Question:
    """The question in another wording; images stand first where the text does not place them.

    Raises:
        InputError: an empty text, or `<image>` written another number of times than there
            are images.
    """
    if question.images and IMAGE not in text:
        text = IMAGE * len(question.images) + text
    return replace(question, text=_checked(text, len(question.images)))


def prepend(question: Question, words: str) -> Question:
    """The question with words before its text, behind the images that stand first."""
    lead = _lead(question.text)
    return replace(question, text=f"{lead}{words} {question.text[len(lead) :]}")


def frame(question: Question, template: str, system: str | None) -> Question:
    """The question inside a template, `{question}` standing for it, after a system message.

    Images that stand first stay first.

    Raises:
        InputError: a system message for a plain text prompt.
    """
    lead = _lead(question.text)
    text = lead + template.replace("{question}", question.text[len(lead) :])
    earlier = question.earlier
    if system is not None and earlier is None:
        raise InputError("a plain text prompt takes no system message: give a conversation")
    if system is not None:
        earlier = ({"role": "system", "content": system}, *(earlier or ()))
    return Question(text, question.images, earlier)


def render(question: Question) -> str | list[dict[str, Any]]:
    """The prompt as TRL and the chat template of a processor take it, images in place."""
    if question.earlier is None:
        return question.text
    parts: list[dict[str, Any]] = []
    images = iter(question.images)
    for number, piece in enumerate(question.text.split(IMAGE)):
        if number:
            parts.append({"type": "image", "image": next(images)})
        if piece:
            parts.append({"type": "text", "text": piece})
    return [*map(_as_parts, question.earlier), {"role": "user", "content": parts}]


def _lead(text: str) -> str:
    found = LEAD.match(text)
    return found[0] if found else ""


def _is_asked(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "user"


def _images(row: Mapping[str, Any]) -> tuple[Any, ...]:
    if row.get("images") is not None:
        return tuple(_picture("images", image) for image in row["images"])
    return () if row.get("image") is None else (_picture("image", row["image"]),)


def _picture(column: str, image: Any) -> Any:
    if not isinstance(image, Image):
        raise InputError(
            f"column {column!r} holds {str(image)[:80]!r}, expected a picture: "
            "cast the column with datasets.Image()"
        )
    return image


def _flatten(message: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """A message's content as one text with placeholders, and the images found in it."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content, ()
    parts = content if isinstance(content, Sequence) else [message]
    pieces, images = [], []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("text", "image") or (kind == "text" and not part.get("text")):
            raise InputError(
                f"column 'prompt' holds {str(part)[:80]!r}: expected a message with a text, or "
                "with parts {'type': 'text', 'text': ...} and {'type': 'image'}"
            )
        pieces.append(IMAGE if kind == "image" else part["text"])
        if kind == "image" and part.get("image") is not None:
            images.append(_picture("prompt", part["image"]))
    return "".join(pieces), tuple(images)


def _checked(text: str, images: int) -> str:
    if not text.replace(IMAGE, "").strip():
        raise InputError(f"column 'prompt' holds an empty question: {text!r}")
    _check_places(text, images)
    return text


def _check_places(text: str, images: int) -> None:
    if text.count(IMAGE) != images:
        raise InputError(
            f"column 'prompt' has {text.count(IMAGE)} {IMAGE} for {images} images: {text[:80]!r}"
        )


def _as_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    # A data set fills parts up with None, which templates would take for images.
    filled = [{name: value for name, value in part.items() if value is not None} for part in parts]
    return {**message, "content": filled}
