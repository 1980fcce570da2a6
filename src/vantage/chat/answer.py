"""Parse and validate server responses once; the rest of the package only sees `Answer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 2**31  # larger token counts are implausible and read as 0


class UnreadableError(Exception):
    """A response that does not follow the protocol."""


@dataclass(frozen=True)
class Answer:
    """A valid answer of a server.

    Attributes:
        text: Text without lone surrogates, so that any file can store it.
        prompt_tokens, completion_tokens: Token counts of the server; 0 if it reports none.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int


def read(body: bytes) -> Answer:
    """Parse the body of a chat completion; the text is empty if the model returned none.

    Raises:
        UnreadableError: The body is not a chat completion.
    """
    told = parsed(body)
    if not isinstance(told, dict) or not isinstance(told.get("choices"), list):
        raise UnreadableError(f"response without choices: {body[:80]!r}")
    first = told["choices"][0] if told["choices"] else {}
    message = _mapping(_mapping(first, "choice").get("message"), "message")
    said = _text(message.get("content")) or _text(message.get("refusal"))
    usage = told.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = (_count(usage.get(f"{kind}_tokens")) for kind in ("prompt", "completion"))
    return Answer(whole(said), *tokens)


def parsed(body: bytes) -> Any:
    """Parse a JSON body.

    Raises:
        UnreadableError: It is not JSON, nested too deeply, or has a number with too many digits.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"response is not valid JSON: {error}") from error


def whole(text: str) -> str:
    """Replace lone surrogates with the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_count(value: Any) -> bool:
    """Whether a value is a plausible token count."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS


def stored(record: Mapping[str, Any]) -> Answer | None:
    """The answer in a journal record; None if it contains no answer."""
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
        raise UnreadableError(f"response whose {what} is {str(value)[:80]!r}")
    return value


def _text(content: Any) -> str:
    """The text of a message content: a text, a list of text parts, or None."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "".join(map(_part, content))
    raise UnreadableError(f"response whose text is {str(content)[:80]!r}")


def _part(part: Any) -> str:
    said = part.get("text", "") if isinstance(part, dict) else part
    if not isinstance(said, str):
        raise UnreadableError(f"response with an invalid part {str(part)[:80]!r}")
    return said


def _count(value: Any) -> int:
    """Parse a token count from an int, a float or a text; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 11:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_count(value) else 0
