"""The tag by which a chat template opens the thoughts of a response.

Some templates end with `<think>` behind the last turn of the user, so that a response begins inside
of its thoughts. The tag belongs to the response that is judged: without it the response has no
form, and one that was cut off while it thought looks like an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vantage.rewards.text import THINK, THOUGHT

OPENED = re.compile(rf"{THINK}\s*\Z")


def opened(prompt: str) -> str:
    r"""What a prompt, as the chat template wrote it, opens at its end: "<think>\n", or nothing."""
    found = OPENED.search(prompt[-100:])
    return found[0] if found else ""


def opened_by(reader: Any, **options: Any) -> str:
    """What a chat template opens behind the turn of the user.

    Args:
        reader: processor or tokenizer.
        options: of its chat template.
    """
    asked: Any = "?"
    if hasattr(reader, "tokenizer"):  # templates of processors take parts
        asked = [{"type": "text", "text": "?"}]
    conversation = [{"role": "user", "content": asked}]
    written = reader.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=False, **options
    )
    return opened(written)


def judged(completion: str | Sequence[Mapping[str, Any]], tag: str) -> Any:
    """A completion with the tag that its prompt opened, unless it opens it again.

    Args:
        completion: a text, or a conversation, which comes back as a new one.
        tag: see `opened`.
    """
    if not tag or not completion:
        return completion
    if isinstance(completion, str):
        return completion if completion.lstrip().startswith(THINK) else tag + completion
    first, *rest = completion
    if not isinstance(first.get("content"), str):
        return completion
    return [{**first, "content": judged(first["content"], tag) or tag}, *rest]


def opened_by_others(responses: Sequence[str], ended: Sequence[bool]) -> str:
    """The tag where most responses close thoughts that they have not opened.

    A server does not show its chat template. Where the template opens the thoughts, every complete
    response closes them; a single response that does is a slip of the model.

    Args:
        responses: to all questions.
        ended: whether each ended by itself; one that was cut off counts only if it closes its
            thoughts.
    """
    closes = [THOUGHT in one for one in responses]
    unopened = [THOUGHT in one and THINK not in one.partition(THOUGHT)[0] for one in responses]
    complete = sum(map(any, zip(closes, ended, strict=True)))
    return f"{THINK}\n" if 2 * sum(unopened) > complete else ""
