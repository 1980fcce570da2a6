"""The row format of a data set and its conversion to a prompt.

Rows have TRL's format: `prompt` (a conversation or plain text) and `image` or `images`. Image
placeholders are either written in the text or given as parts of the conversation. Internally a
`Question` holds one text with an `<image>` placeholder per image, references to the images, and
the surrounding turns. Without variants, a row gives the same prompt as in TRL, see
`trl.data_utils.prepare_multimodal_messages`.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vantage.errors import InputError
from vantage.questions.pictures import Picture, Step, picture

IMAGE = "<image>"
# Attributes in which processors and tokenizers keep their image, video and audio placeholders.
PLACEHOLDERS = ("image_token", "video_token", "audio_token", "boi_token", "eoi_token")
LEAD = re.compile(rf"(?:{IMAGE}\s*)+")

BESIDE = re.compile(r"['\"]\s+['\"]")  # strings without a comma between them

Turn = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One training item: the turn to answer and the turns around it.

    A turn is a message whose content is a text or a list of parts, as stored in the row. If the row
    has an image column, every content is a list of parts.

    Attributes:
        text: Text of the turn to answer, with `<image>` in the place of each of its images.
        images: References to the images of this turn, in order.
        earlier: Preceding turns (a system prompt, earlier questions). None for a plain text prompt,
            to which no chat template is applied.
        turn: The turn to answer as stored in the row: role, other keys, form of the content.
        later: Following turns (the beginning of an answer, the output of a tool).
    """

    text: str
    images: tuple[Picture, ...] = ()
    earlier: tuple[Turn, ...] | None = ()
    turn: Turn = field(default_factory=lambda: {"role": "user"}, hash=False)
    later: tuple[Turn, ...] = ()


def read(row: Mapping[str, Any]) -> Question:
    """Read the question of a row in TRL's format; the last user turn is the one to answer.

    Images of the `image` and `images` columns fill the placeholders of the conversation in order.
    Placeholders are parts {"type": "image"} without an image, and `<image>` in user texts. Without
    placeholders the images go to the front of the first user turn that is a text, as in TRL. In a
    row without images and without an image column, `<image>` is an ordinary word.

    Raises:
        InputError: A missing or empty prompt, a value that is not an image, or different numbers
            of placeholders and images. Names the column and the value.
    """
    prompt = row.get("prompt")
    images = _images(row)
    if isinstance(prompt, str):
        if images:
            raise InputError(
                "column 'prompt' is plain text, but the row has images: "
                "give a conversation, [{'role': 'user', 'content': ...}]"
            )
        return Question(_filled(prompt), earlier=None)
    turns = _turns(prompt)
    asked = _asked(turns)
    turns = _with_images(turns, images, asked, "image" in row or "images" in row)
    turn = turns[asked]
    return Question(
        _filled(_flat(turn["content"])),
        tuple(_shown(turn)),
        tuple(turns[:asked]),
        turn,
        tuple(turns[asked + 1 :]),
    )


def rewrites(row: Mapping[str, Any], column: str | None) -> list[str]:
    """Read the rewrites of a row's question from `column`; empty if it is None or has no value.

    Raises:
        InputError: See `texts`.
    """
    return texts(row.get(column) if column else None, column or "")


def texts(value: Any, column: str) -> list[str]:
    """Read a list of texts, which may be a string in JSON or Python notation.

    The string is parsed as a literal and never executed.

    Raises:
        InputError: Any other value. Names the column.
    """
    found = literal(value) if isinstance(value, str) and value.strip() else value
    if not found:
        return []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InputError(f"column {column!r} holds {str(value)[:80]!r}, expected a list of texts")
    return found


def with_text(question: Question, text: str) -> Question:
    """Replace the text of a question; images go to the front if the text has no placeholders.

    Raises:
        InputError: An empty text, or a number of `<image>` that differs from the number of images.
            In a question without images, `<image>` is a word if the original text has it.
    """
    if question.images and IMAGE not in text:
        text = IMAGE * len(question.images) + text
    if pictures(question) or IMAGE not in question.text:
        _check_places(text.count(IMAGE), len(question.images), text)
    return replace(question, text=_filled(text))


def pictures(question: Question) -> tuple[Picture, ...]:
    """All images of a question in order, including those of the surrounding turns."""
    earlier = [image for turn in question.earlier or () for image in _shown(turn)]
    later = [image for turn in question.later for image in _shown(turn)]
    return (*earlier, *question.images, *later)


def with_pictures(question: Question, images: Iterable[Picture]) -> Question:
    """Replace all images of a question, in the order of `pictures`."""
    left = iter(images)
    earlier = question.earlier and tuple(_filled_in(turn, left) for turn in question.earlier)
    own = tuple(next(left) for _ in question.images)
    later = tuple(_filled_in(turn, left) for turn in question.later)
    return replace(question, images=own, earlier=earlier, later=later)


def with_step(question: Question, step: Step) -> Question:
    """Append a processing step to every image of a question."""
    images = pictures(question)
    return with_pictures(question, [image.then(step) for image in images]) if images else question


def words(question: Question) -> list[str]:
    """All texts of a question in order, without image placeholders."""
    said = conversation(question)
    if isinstance(said, str):
        return [said]
    parts = [part for message in said for part in in_parts(message["content"])]
    return [part["text"] for part in parts if "text" in part]


def written(turn: Turn) -> str:
    """The content of a turn as one text, with `<image>` for each image."""
    return _flat(turn["content"])


def placeholders(processor: Any) -> tuple[str, ...]:
    """Placeholder texts of a processor for images, videos and audio; empty for a tokenizer."""
    named = (getattr(processor, name, None) for name in PLACEHOLDERS)
    found = tuple(dict.fromkeys(str(token) for token in named if token))
    return found if hasattr(processor, "tokenizer") else ()


def refuse(question: Question, reserved: Iterable[str]) -> None:
    """Reject a question whose text contains a placeholder of the processor.

    The processor would expect an image there that does not exist.

    Raises:
        InputError: The question contains one of the `reserved` texts.
    """
    for token in reserved:
        for text in words(question):
            if token in text:
                raise InputError(
                    f"column 'prompt' contains {token!r}, which the processor reads as an image "
                    f"placeholder: {text[:80]!r}; reword the text"
                )


def prepend(question: Question, note: str) -> Question:
    """Insert a note before the text of a question, after its leading images."""
    lead = _lead(question)
    return replace(question, text=f"{lead}{note} {question.text[len(lead) :]}")


def frame(question: Question, template: str, system: str | None) -> Question:
    """Insert a question into a template at `{question}` and prepend a system message.

    Leading images of the question move to `<image>` in the template, or stay in front if the
    template has no `<image>`. If the question has no leading images, `<image>` and the white space
    after it are dropped.

    Raises:
        InputError: A system message for a plain text prompt.
    """
    lead = _lead(question)
    text = _placed(template, lead).replace("{question}", question.text[len(lead) :])
    earlier = question.earlier
    if system is not None and earlier is None:
        raise InputError("a plain text prompt cannot have a system message: give a conversation")
    if system is not None:
        said = system if _is_text(question) else in_parts(system)
        earlier = ({"role": "system", "content": said}, *(earlier or ()))
    return replace(question, text=text, earlier=earlier)


def conversation(question: Question) -> str | list[dict[str, Any]]:
    """The prompt in TRL's format, with images as references."""
    if question.earlier is None:
        return question.text
    turns = (*question.earlier, {**question.turn, "content": _content(question)}, *question.later)
    return [dict(turn) for turn in turns]


def _placed(template: str, lead: str) -> str:
    before, mark, after = template.partition(IMAGE)
    if not mark:
        return lead + template
    if not lead:
        return before + after.lstrip()
    # If the template has no white space between images and text, keep that of the row.
    return before + (lead if after.startswith("{question}") else lead.rstrip()) + after


def fault_of(template: str) -> str | None:
    """Describe the error in a template; None if it is valid."""
    front, question, _ = template.partition("{question}")
    if not question:
        return "does not contain {question}"
    if template.count(IMAGE) > 1:
        return f"has {IMAGE} {template.count(IMAGE)} times: write it once, for all images"
    if IMAGE in template and IMAGE not in front:
        return f"has {IMAGE} after {{question}}: put it before"
    return None


def render(question: Question) -> str | list[dict[str, Any]]:
    """The prompt in TRL's format, with images opened, as reward functions receive it."""
    prompt = conversation(question)
    return prompt if isinstance(prompt, str) else [_opened(message) for message in prompt]


def taken(prompt: str | list[dict[str, Any]], sees: bool) -> str | list[dict[str, Any]]:
    """Convert a prompt to the form that a chat template expects.

    Args:
        prompt: A text or a conversation.
        sees: Whether the template belongs to a processor. Many of those accept only parts, while
            templates of tokenizers expect texts and often drop parts.
    """
    if isinstance(prompt, str):
        return prompt
    form = in_parts if sees else _joined
    return [{**message, "content": form(message["content"])} for message in prompt]


def in_parts(content: Any) -> list[dict[str, Any]]:
    """The content of a message as parts; empty if it has no content."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def images_in(prompt: str | list[dict[str, Any]]) -> list[Any]:
    """The images of a rendered prompt, in order."""
    if isinstance(prompt, str):
        return []
    parts = [part for message in prompt for part in in_parts(message["content"])]
    return [part["image"] for part in parts if part["type"] == "image"]


def _joined(content: Any) -> Any:
    if not content or isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def literal(text: str) -> Any:
    """Parse a text as JSON, a Python literal or a printed NumPy array; else return it unchanged.

    Nothing is executed.
    """
    for reader in (json.loads, _literal):
        try:
            return reader(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _literal(text: str) -> Any:
    return ast.literal_eval(_with_commas(text) if BESIDE.search(text) else text)


def _with_commas(text: str) -> str:
    """Add commas to a printed NumPy array, since Python reads ['a' 'b'] as one string."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except tokenize.TokenError:
        return text
    words = [token for token in tokens if token.string.strip()]
    strings = [token.type == tokenize.STRING for token in words]
    beside = [one and other for one, other in zip(strings, [*strings[1:], False], strict=True)]
    pairs = zip(words, beside, strict=True)
    return " ".join(token.string + "," * comma for token, comma in pairs)


def _lead(question: Question) -> str:
    """The leading `<image>` placeholders of a question."""
    found = LEAD.match(question.text) if question.images else None
    return found[0] if found else ""


def _images(row: Mapping[str, Any]) -> tuple[Picture, ...]:
    if row.get("images") is not None:
        return tuple(_picture("images", image) for image in row["images"])
    return () if row.get("image") is None else (_picture("image", row["image"]),)


def _picture(column: str, value: Any) -> Picture:
    try:
        return picture(value)
    except InputError as error:
        raise InputError(f"column {column!r}: {error}") from error


def _turns(prompt: Any) -> list[Turn]:
    """The messages of a conversation, with images as references."""
    messages = list(prompt) if isinstance(prompt, Sequence) else []
    spoken = (isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in messages)
    if not messages or not all(spoken):
        raise InputError(
            f"column 'prompt' is {str(prompt)[:80]!r}: "
            "expected a text or a conversation, [{'role': 'user', 'content': ...}]"
        )
    return [_turn(message) for message in messages]


def _turn(message: Turn) -> dict[str, Any]:
    """Drop the keys that Arrow filled with None because other messages have them."""
    content, more = message.get("content"), {**message, "content": None}
    kept = _without_none(more)
    if content is None and not kept.keys() - {"role"}:
        content = [message]  # neither content nor a tool call: rejected as an invalid part
    if not isinstance(content, str | None):
        parts = content if isinstance(content, Sequence) else [message]
        content = [_part(part) for part in parts]
    return {**kept, "content": content}


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_none(held) for name, held in value.items() if held is not None}
    return [_without_none(held) for held in value] if isinstance(value, list) else value


def _part(part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    is_text = kind == "text" and isinstance(part.get("text"), str) and part.get("image") is None
    if kind != "image" and not is_text:
        raise InputError(
            f"column 'prompt' holds {str(part)[:80]!r}: expected a message with a text, or "
            "with parts {'type': 'text', 'text': ...} and {'type': 'image'}"
        )
    # Arrow fills missing keys with None, which templates would read as images.
    kept = {name: value for name, value in part.items() if value is not None}
    return {**kept, "image": _picture("prompt", kept["image"])} if "image" in kept else kept


def _asked(turns: Sequence[Turn]) -> int:
    """Index of the turn to answer: the last user turn with text, or else the last turn."""
    users = [
        number
        for number, turn in enumerate(turns)
        if turn["role"] == "user"
        and any(part["type"] == "text" for part in in_parts(turn["content"]))
    ]
    return (users or [len(turns) - 1])[-1]


def _with_images(
    turns: Sequence[Turn], images: Sequence[Picture], asked: int, pictured: bool
) -> list[Turn]:
    """Put the images of the columns in their places.

    Args:
        turns: Turns of the row.
        images: Images of its columns.
        asked: Index of the turn to answer.
        pictured: Whether the data set has an image column.
    """
    inline = sum(len(_shown(turn)) for turn in turns)
    if not (inline or images or pictured or any(map(_places, turns))):
        return list(turns)  # `<image>` is an ordinary word
    users = [n for n, turn in enumerate(turns) if turn["role"] == "user"] or [asked]
    texts = [n for n in users if isinstance(turns[n]["content"], str)]
    split = [_split(turn) if n in users else turn for n, turn in enumerate(turns)]
    if not any(map(_places, split)) and images and (texts or not inline):
        first = (texts or users)[0]
        split[first] = _led(split[first], len(images))
    places = sum(map(_places, split))
    if places != len(images):
        said = " ".join(filter(None, map(written, split)))
        _check_places(places + inline, len(images) + inline, said)
    if not images:
        return list(turns)
    left = iter(images)
    parts = [part for turn in split for part in _parts(turn) if part["type"] == "image"]
    shown = iter([part["image"] if "image" in part else next(left) for part in parts])
    return [_filled_in(_parted(turn), shown) for turn in split]


def _split(turn: Turn) -> Turn:
    """Convert each `<image>` in the texts of a turn to a part."""
    if IMAGE not in _flat([part for part in in_parts(turn["content"]) if part["type"] == "text"]):
        return turn
    parts = [piece for part in in_parts(turn["content"]) for piece in _pieces(part)]
    return {**turn, "content": parts}


def _pieces(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Split a text part at each `<image>`."""
    if part["type"] == "image":
        yield dict(part)
        return
    for number, text in enumerate(part["text"].split(IMAGE)):
        if number:
            yield {"type": "image"}
        if text:
            yield {**part, "text": text}


def _led(turn: Turn, images: int) -> Turn:
    """Prepend image placeholders to a turn."""
    places = [{"type": "image"} for _ in range(images)]
    return {**turn, "content": [*places, *in_parts(turn["content"])]}


def _parted(turn: Turn) -> Turn:
    content = turn["content"]
    return {**turn, "content": in_parts(content)} if isinstance(content, str) else turn


def _places(turn: Turn) -> int:
    """Number of image parts without an image."""
    return sum(part["type"] == "image" and "image" not in part for part in _parts(turn))


def _shown(turn: Turn) -> list[Picture]:
    return [part["image"] for part in _parts(turn) if "image" in part]


def _parts(turn: Turn) -> list[Mapping[str, Any]]:
    """The parts of a turn; empty if its content is a text."""
    content = turn.get("content")
    return content if isinstance(content, list) else []


def _filled_in(turn: Turn, images: Iterator[Any]) -> Turn:
    """Fill the image parts of a turn with the next images, replacing any it has."""
    if not any(part["type"] == "image" for part in _parts(turn)):
        return turn
    parts = [
        {**part, "image": next(images)} if part["type"] == "image" else part
        for part in _parts(turn)
    ]
    return {**turn, "content": parts}


def _flat(content: Any) -> str:
    """A message content as one text with `<image>` placeholders."""
    parts = in_parts(content)
    return "".join(IMAGE if part["type"] == "image" else part["text"] for part in parts)


def _filled(text: str) -> str:
    if not text.replace(IMAGE, "").strip():
        raise InputError(f"column 'prompt' holds an empty question: {text!r}")
    return text


def _check_places(places: int, images: int, text: str) -> None:
    if places != images:
        raise InputError(f"column 'prompt' has {places} {IMAGE} for {images} images: {text[:80]!r}")


def _content(question: Question) -> str | list[dict[str, Any]]:
    """Content of the turn to answer; an unchanged text keeps the parts of the row."""
    if _is_text(question):
        return question.text
    content = question.turn.get("content")
    images = iter(question.images)
    if content and _flat(content) == question.text:
        return list(_filled_in(question.turn, images)["content"])
    places = {"type": "text", "text": question.text}
    pieces = _pieces(places) if question.images else [places]
    return [{**part, "image": next(images)} if part["type"] == "image" else part for part in pieces]


def _is_text(question: Question) -> bool:
    """Whether the content of the turn to answer is a text and not a list of parts."""
    content = question.turn.get("content")
    return isinstance(content, str) or (content is None and not pictures(question))


def _opened(message: Turn) -> dict[str, Any]:
    return dict(_filled_in(message, (image.open() for image in _shown(message))))
