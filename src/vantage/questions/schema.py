"""What a row of a data set must have, and how it becomes a prompt.

Inside vantage a question is one text, with `<image>` where each image stands, plus
references to its images. A row is what TRL takes: `prompt` (a conversation or a text) and
`image` or `images`; placeholders may be written in the text or as parts of the conversation.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vantage.errors import InputError
from vantage.questions.pictures import Picture, Step, picture

IMAGE = "<image>"
LEAD = re.compile(rf"(?:{IMAGE}\s*)+")


@dataclass(frozen=True)
class Question:
    """One training item.

    Attributes:
        text: the question, `<image>` where each image stands.
        images: references to its images, in order.
        earlier: messages before the question (a system prompt, earlier turns), their content
            in parts; None for a plain text prompt, to which no chat template is applied.
    """

    text: str
    images: tuple[Picture, ...] = ()
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
    before = tuple(_referring(message) for message in prompt[:-1])
    return with_text(Question("", inline or images, before), text)


def rewrites(row: Mapping[str, Any], column: str | None) -> list[str]:
    """Other wordings of the question of a row; none without a column, or where it is empty.

    Raises:
        InputError: as `texts`.
    """
    return texts(row.get(column) if column else None, column or "")


def texts(value: Any, column: str) -> list[str]:
    """A list of texts, or a text in which one is written in JSON or as Python writes it.

    Nothing in it is executed.

    Raises:
        InputError: something else; names the column.
    """
    found = _list_in(value) if isinstance(value, str) and value.strip() else value
    if not found:
        return []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InputError(f"column {column!r} holds {str(value)[:80]!r}, expected a list of texts")
    return found


def with_text(question: Question, text: str) -> Question:
    """The question in another wording; images stand first where the text does not place them.

    Raises:
        InputError: an empty text, or `<image>` written another number of times than there
            are images.
    """
    if question.images and IMAGE not in text:
        text = IMAGE * len(question.images) + text
    return replace(question, text=_checked(text, len(question.images)))


def pictures(question: Question) -> tuple[Picture, ...]:
    """All pictures of a question in order, those of earlier turns too."""
    earlier = [part for message in question.earlier or () for part in message["content"]]
    return (*(part["image"] for part in earlier if "image" in part), *question.images)


def with_step(question: Question, step: Step) -> Question:
    """The question with something done to each of its pictures, those of earlier turns too."""
    images = tuple(image.then(step) for image in question.images)
    if question.earlier is None:
        return replace(question, images=images)
    earlier = tuple(
        {**message, "content": [_stepped(part, step) for part in message["content"]]}
        for message in question.earlier
    )
    return replace(question, images=images, earlier=earlier)


def prepend(question: Question, words: str) -> Question:
    """The question with words before its text, behind the images that stand first."""
    lead = _lead(question.text)
    return replace(question, text=f"{lead}{words} {question.text[len(lead) :]}")


def frame(question: Question, template: str, system: str | None) -> Question:
    """The question inside a template, `{question}` standing for it, after a system message.

    Images that stand first in the question go where the template has `<image>`, or stay first
    where it has none. Where the question has no such images, `<image>` and the white space behind
    it are left out.

    Raises:
        InputError: a system message for a plain text prompt.
    """
    lead = _lead(question.text)
    text = _led(template, lead).replace("{question}", question.text[len(lead) :])
    earlier = question.earlier
    if system is not None and earlier is None:
        raise InputError("a plain text prompt takes no system message: give a conversation")
    if system is not None:
        said = [{"type": "text", "text": system}]
        earlier = ({"role": "system", "content": said}, *(earlier or ()))
    return Question(text, question.images, earlier)


def _led(template: str, lead: str) -> str:
    before, mark, after = template.partition(IMAGE)
    if not mark:
        return lead + template
    if not lead:
        return before + after.lstrip()
    # The row's own white space between images and text counts where the template has none.
    return before + (lead if after.startswith("{question}") else lead.rstrip()) + after


def fault_of(template: str) -> str | None:
    """What is wrong with a template; None for nothing."""
    front, question, _ = template.partition("{question}")
    if not question:
        return "has no {question} in it"
    if template.count(IMAGE) > 1:
        return f"has {IMAGE} {template.count(IMAGE)} times: once says where all images go"
    if IMAGE in template and IMAGE not in front:
        return f"has {IMAGE} behind {{question}}: put it before"
    return None


def render(question: Question) -> str | list[dict[str, Any]]:
    """The prompt as TRL and the chat template of a processor take it, images opened, in place."""
    if question.earlier is None:
        return question.text
    parts: list[dict[str, Any]] = []
    images = iter(question.images)
    for number, piece in enumerate(question.text.split(IMAGE)):
        if number:
            parts.append({"type": "image", "image": next(images).open()})
        if piece:
            parts.append({"type": "text", "text": piece})
    return [*map(_opened, question.earlier), {"role": "user", "content": parts}]


def spoken(prompt: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A prompt without images, each message a text: templates of text models drop parts."""
    if isinstance(prompt, str):
        return prompt
    return [{**message, "content": _said(message["content"])} for message in prompt]


def _said(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _list_in(text: str) -> Any:
    for reader in (json.loads, ast.literal_eval):  # literals alone, no expressions
        try:
            return reader(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _lead(text: str) -> str:
    found = LEAD.match(text)
    return found[0] if found else ""


def _is_asked(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "user"


def _images(row: Mapping[str, Any]) -> tuple[Picture, ...]:
    if row.get("images") is not None:
        return tuple(_picture("images", image) for image in row["images"])
    return () if row.get("image") is None else (_picture("image", row["image"]),)


def _picture(column: str, value: Any) -> Picture:
    try:
        return picture(value)
    except InputError as error:
        raise InputError(f"column {column!r}: {error}") from error


def _flatten(message: Mapping[str, Any]) -> tuple[str, tuple[Picture, ...]]:
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


def _referring(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message in parts, its images as references."""
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    # A data set fills parts up with None, which templates would take for images.
    filled = [{name: value for name, value in part.items() if value is not None} for part in parts]
    for part in filled:
        if "image" in part:
            part["image"] = _picture("prompt", part["image"])
    return {**message, "content": filled}


def _stepped(part: Mapping[str, Any], step: Step) -> Mapping[str, Any]:
    return {**part, "image": part["image"].then(step)} if "image" in part else part


def _opened(message: Mapping[str, Any]) -> dict[str, Any]:
    parts = [
        {**part, "image": part["image"].open()} if "image" in part else part
        for part in message["content"]
    ]
    return {**message, "content": parts}
