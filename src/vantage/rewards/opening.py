"""The `<think>` tag with which a chat template opens the thoughts of a response.

Some templates end the prompt with `<think>`, so the response starts inside its thoughts. Rewards
must see the tag as part of the response. Without it, the response fails the format reward, and a
response truncated while thinking looks like an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vantage.rewards.text import THINK, THOUGHT

OPENED = re.compile(rf"{THINK}\s*\Z")


def opened(prompt: str) -> str:
    r"""Return the tag that ends a rendered prompt, such as "<think>\n"; empty if there is none."""
    found = OPENED.search(prompt[-100:])
    return found[0] if found else ""


def opened_by(reader: Any, **options: Any) -> str:
    """Return the tag that a chat template adds after the user's turn; see `opened`.

    Args:
        reader: Processor or tokenizer.
        options: Keyword arguments of its chat template.
    """
    asked: Any = "?"
    if hasattr(reader, "tokenizer"):  # chat templates of processors take content parts
        asked = [{"type": "text", "text": "?"}]
    conversation = [{"role": "user", "content": asked}]
    written = reader.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=False, **options
    )
    return opened(written)


def judged(completion: str | Sequence[Mapping[str, Any]], tag: str) -> Any:
    """Prepend the tag that ends the prompt to a completion that does not start with it.

    Args:
        completion: A text, or a conversation, which is copied rather than changed.
        tag: The tag from `opened`.
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
    """Infer the tag from responses: "<think>" if most close thoughts that they did not open.

    A server does not show its chat template. If the template opens the thoughts, every complete
    response closes them. If only a few responses do, the model made a mistake.

    Args:
        responses: Responses to all questions.
        ended: Whether each response is complete. A truncated response counts only if it closes
            its thoughts.
    """
    closes = [THOUGHT in one for one in responses]
    unopened = [THOUGHT in one and THINK not in one.partition(THOUGHT)[0] for one in responses]
    complete = sum(map(any, zip(closes, ended, strict=True)))
    return f"{THINK}\n" if 2 * sum(unopened) > complete else ""
