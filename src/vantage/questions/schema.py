"""What a row of a data set must have, and how it becomes a prompt.

Inside vantage a question is one text, with `<image>` where each image stands, plus
references to its images and the turns around it. A row is what TRL takes: `prompt` (a
conversation or a text) and `image` or `images`; placeholders may be written in the text or as
parts of the conversation. What becomes of a row that is not varied is what TRL makes of it, see
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
# Names under which processors and tokenizers keep what stands for a picture, a video, a sound.
PLACEHOLDERS = ("image_token", "video_token", "audio_token", "boi_token", "eoi_token")
LEAD = re.compile(rf"(?:{IMAGE}\s*)+")

BESIDE = re.compile(r"['\"]\s+['\"]")  # texts with no comma between them

Turn = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One training item: the turn that is asked, and the turns around it.

    Turns are messages whose content is a text or a list of parts, as the row has it; with
    images in a column all have parts.

    Attributes:
        text: of the turn that is asked, `<image>` where each of its images stands.
        images: references to its images, in order.
        earlier: turns before it (a system prompt, earlier questions); None for a plain text
            prompt, to which no chat template is applied.
        turn: the turn that is asked as the row has it: role, other keys, form of the content.
        later: turns after it (the beginning of an answer, what a tool returned).
    """

    text: str
    images: tuple[Picture, ...] = ()
    earlier: tuple[Turn, ...] | None = ()
    turn: Turn = field(default_factory=lambda: {"role": "user"}, hash=False)
    later: tuple[Turn, ...] = ()


def read(row: Mapping[str, Any]) -> Question:
    """The question of a row in TRL's format: its last turn of the user is asked.

    The images of the columns fill the places of the conversation in order: parts
    {"type": "image"} without an image, and `<image>` in a text of the user. Where it has no
    places they stand first in the first turn of the user that is a text, as in TRL. In a row
    without images, and without a column of images, `<image>` is a word.

    Raises:
        InputError: no prompt, an empty one, something that is no picture, or another number
            of places than images; names the column and the value.
    """
    prompt = row.get("prompt")
    images = _images(row)
    if isinstance(prompt, str):
        if images:
            raise InputError(
                "column 'prompt' is a plain text but the row has images: "
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
    found = literal(value) if isinstance(value, str) and value.strip() else value
    if not found:
        return []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InputError(f"column {column!r} holds {str(value)[:80]!r}, expected a list of texts")
    return found


def with_text(question: Question, text: str) -> Question:
    """The question in another wording; images stand first where the text does not place them.

    Raises:
        InputError: an empty text, or `<image>` written another number of times than there
            are images; it may be a word where it is one of the question.
    """
    if question.images and IMAGE not in text:
        text = IMAGE * len(question.images) + text
    if pictures(question) or IMAGE not in question.text:
        _check_places(text.count(IMAGE), len(question.images), text)
    return replace(question, text=_filled(text))


def pictures(question: Question) -> tuple[Picture, ...]:
    """All pictures of a question in order, those of the turns around it too."""
    earlier = [image for turn in question.earlier or () for image in _shown(turn)]
    later = [image for turn in question.later for image in _shown(turn)]
    return (*earlier, *question.images, *later)


def with_pictures(question: Question, images: Iterable[Picture]) -> Question:
    """The question with other pictures in place of all its own, in the order of `pictures`."""
    left = iter(images)
    earlier = question.earlier and tuple(_filled_in(turn, left) for turn in question.earlier)
    own = tuple(next(left) for _ in question.images)
    later = tuple(_filled_in(turn, left) for turn in question.later)
    return replace(question, images=own, earlier=earlier, later=later)


def with_step(question: Question, step: Step) -> Question:
    """The question with something done to each of its pictures."""
    images = pictures(question)
    return with_pictures(question, [image.then(step) for image in images]) if images else question


def words(question: Question) -> list[str]:
    """Every text of a question in order, the places of its pictures left out."""
    said = conversation(question)
    if isinstance(said, str):
        return [said]
    parts = [part for message in said for part in in_parts(message["content"])]
    return [part["text"] for part in parts if "text" in part]


def written(turn: Turn) -> str:
    """What a turn says as one text, `<image>` where a picture stands."""
    return _flat(turn["content"])


def placeholders(processor: Any) -> tuple[str, ...]:
    """Texts that a processor takes for a picture, a video or a sound; none of a tokenizer."""
    named = (getattr(processor, name, None) for name in PLACEHOLDERS)
    found = tuple(dict.fromkeys(str(token) for token in named if token))
    return found if hasattr(processor, "tokenizer") else ()


def refuse(question: Question, reserved: Iterable[str]) -> None:
    """Refuse texts that a processor takes for a picture, which is not there.

    Raises:
        InputError: one of the `reserved` texts stands in the question.
    """
    for token in reserved:
        for text in words(question):
            if token in text:
                raise InputError(
                    f"column 'prompt' writes {token!r}, which the processor takes for a picture: "
                    f"{text[:80]!r}; write it in another way"
                )


def prepend(question: Question, note: str) -> Question:
    """The question with a note before its text, behind the images that stand first."""
    lead = _lead(question)
    return replace(question, text=f"{lead}{note} {question.text[len(lead) :]}")


def frame(question: Question, template: str, system: str | None) -> Question:
    """The question inside a template, `{question}` standing for it, after a system message.

    Images that stand first in the question go where the template has `<image>`, or stay first
    where it has none. Where the question has no such images, `<image>` and the white space behind
    it are left out.

    Raises:
        InputError: a system message for a plain text prompt.
    """
    lead = _lead(question)
    text = _placed(template, lead).replace("{question}", question.text[len(lead) :])
    earlier = question.earlier
    if system is not None and earlier is None:
        raise InputError("a plain text prompt takes no system message: give a conversation")
    if system is not None:
        said = system if _is_text(question) else in_parts(system)
        earlier = ({"role": "system", "content": said}, *(earlier or ()))
    return replace(question, text=text, earlier=earlier)


def conversation(question: Question) -> str | list[dict[str, Any]]:
    """The prompt as TRL has it, its images as references."""
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
    """The prompt as TRL has it: what functions get, images opened, in place."""
    prompt = conversation(question)
    return prompt if isinstance(prompt, str) else [_opened(message) for message in prompt]


def taken(prompt: str | list[dict[str, Any]], sees: bool) -> str | list[dict[str, Any]]:
    """A prompt as chat templates take it.

    Args:
        prompt: a text, or a conversation.
        sees: whether the template is that of a processor, many of which take parts alone;
            those of tokenizers take texts, and many drop parts.
    """
    if isinstance(prompt, str):
        return prompt
    form = in_parts if sees else _joined
    return [{**message, "content": form(message["content"])} for message in prompt]


def in_parts(content: Any) -> list[dict[str, Any]]:
    """The content of a message as parts; none where it has none."""
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
    return content and (content if isinstance(content, str) else "".join(_texts(content)))


def _texts(parts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (part["text"] for part in parts)


def literal(text: str) -> Any:
    """What a text says in JSON, or as Python or NumPy write lists; the text where it is neither.

    Nothing in it is executed.
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
    """A list as NumPy writes it, ['a' 'b'], with the commas without which it is one text."""
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
    """The places of the images that stand first."""
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
    """The messages of a conversation, their images as references."""
    messages = list(prompt) if isinstance(prompt, Sequence) else []
    spoken = (isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in messages)
    if not messages or not all(spoken):
        raise InputError(
            f"column 'prompt' is {str(prompt)[:80]!r}: "
            "expected a text or a conversation, [{'role': 'user', 'content': ...}]"
        )
    return [_turn(message) for message in messages]


def _turn(message: Turn) -> dict[str, Any]:
    """A message without the None that a data set fills in where others have a key."""
    content, more = message.get("content"), {**message, "content": None}
    kept = _without_none(more)
    if content is None and not kept.keys() - {"role"}:
        content = [message]  # which says nothing, not even that a tool is called
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
    # A data set fills parts up with None, which templates would take for images.
    kept = {name: value for name, value in part.items() if value is not None}
    return {**kept, "image": _picture("prompt", kept["image"])} if "image" in kept else kept


def _asked(turns: Sequence[Turn]) -> int:
    """Number of the turn that is asked: the user's last one that is not pictures alone; without
    one of the user the last turn.
    """
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
    """The turns with the images of the columns in their places.

    Args:
        turns: of the row.
        images: of its columns.
        asked: number of the turn that is asked.
        pictured: whether there are such columns.
    """
    inline = sum(len(_shown(turn)) for turn in turns)
    if not (inline or images or pictured or any(map(_places, turns))):
        return list(turns)  # `<image>` is a word
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
    """The turn with `<image>` in its texts as parts."""
    if IMAGE not in _flat([part for part in in_parts(turn["content"]) if part["type"] == "text"]):
        return turn
    parts = [piece for part in in_parts(turn["content"]) for piece in _pieces(part)]
    return {**turn, "content": parts}


def _pieces(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A part cut where `<image>` stands in its text."""
    if part["type"] == "image":
        yield dict(part)
        return
    for number, text in enumerate(part["text"].split(IMAGE)):
        if number:
            yield {"type": "image"}
        if text:
            yield {**part, "text": text}


def _led(turn: Turn, images: int) -> Turn:
    """The turn with places for images in front."""
    places = [{"type": "image"} for _ in range(images)]
    return {**turn, "content": [*places, *in_parts(turn["content"])]}


def _parted(turn: Turn) -> Turn:
    content = turn["content"]
    return {**turn, "content": in_parts(content)} if isinstance(content, str) else turn


def _places(turn: Turn) -> int:
    """Parts for an image that have none."""
    return sum(part["type"] == "image" and "image" not in part for part in _parts(turn))


def _shown(turn: Turn) -> list[Picture]:
    return [part["image"] for part in _parts(turn) if "image" in part]


def _parts(turn: Turn) -> list[Mapping[str, Any]]:
    """The parts of a turn whose content has some."""
    content = turn.get("content")
    return content if isinstance(content, list) else []


def _filled_in(turn: Turn, images: Iterator[Picture]) -> Turn:
    """The turn with the next images as those of its parts, in place of its own."""
    if not any(part["type"] == "image" for part in _parts(turn)):
        return turn
    parts = [
        {**part, "image": next(images)} if part["type"] == "image" else part
        for part in _parts(turn)
    ]
    return {**turn, "content": parts}


def _flat(content: Any) -> str:
    """A content as one text with places."""
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
    """Content of the turn that is asked: in the row's own parts where its text is the row's."""
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
    """Whether the turn that is asked is a text rather than parts."""
    content = question.turn.get("content")
    return isinstance(content, str) or (content is None and not pictures(question))


def _opened(message: Turn) -> dict[str, Any]:
    if not _shown(message):
        return dict(message)
    parts = [
        {**part, "image": part["image"].open()} if "image" in part else part
        for part in _parts(message)
    ]
    return {**message, "content": parts}
