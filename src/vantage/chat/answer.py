"""Reads and validates the answers of a server, once; the rest of the package sees only `Answer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 2**31  # counts from here on are not believed


class UnreadableError(Exception):
    """An answer that does not follow the protocol."""


@dataclass(frozen=True)
class Answer:
    """A valid answer of a server.

    Attributes:
        text: without lone surrogates, so that any file can hold it.
        prompt_tokens, completion_tokens: as the server counts them; 0 if it does not.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int


def read(body: bytes) -> Answer:
    """The answer in the body of a chat completion; its text is empty if the model said nothing.

    Raises:
        UnreadableError: the body is not a chat completion.
    """
    told = parsed(body)
    if not isinstance(told, dict) or not isinstance(told.get("choices"), list):
        raise UnreadableError(f"an answer without choices: {body[:80]!r}")
    first = told["choices"][0] if told["choices"] else {}
    message = _mapping(_mapping(first, "choice").get("message"), "message")
    said = _text(message.get("content")) or _text(message.get("refusal"))
    usage = told.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = (_count(usage.get(f"{kind}_tokens")) for kind in ("prompt", "completion"))
    return Answer(whole(said), *tokens)


def parsed(body: bytes) -> Any:
    """The value of a body in JSON.

    Raises:
        UnreadableError: it is not JSON, is nested too deeply, or has a number with too many digits.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"an answer that is no JSON: {error}") from error


def whole(text: str) -> str:
    """The text with a replacement character for each half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_count(value: Any) -> bool:
    """Whether it is a number of tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS


def stored(record: Mapping[str, Any]) -> Answer | None:
    """The answer in a record of a journal; None if the record holds none."""
    text: Any = record.get("text")
    asked: Any = record.get("prompt_tokens")
    said: Any = record.get("completion_tokens")
    if isinstance(text, str) and is_count(asked) and is_count(said):
        return Answer(whole(text), asked, said)
    return None


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnreadableError(f"an answer whose {what} is {str(value)[:80]!r}")
    return value


def _text(content: Any) -> str:
    """The text of a content: a text, a list of parts with texts, or nothing."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "".join(map(_part, content))
    raise UnreadableError(f"an answer whose text is {str(content)[:80]!r}")


def _part(part: Any) -> str:
    said = part.get("text", "") if isinstance(part, dict) else part
    if not isinstance(said, str):
        raise UnreadableError(f"an answer with a part {str(part)[:80]!r}")
    return said


def _count(value: Any) -> int:
    """A number of tokens, also from a text or a float; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 11:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_count(value) else 0
