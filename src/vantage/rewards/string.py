"""Whether an answer is the reference word for word."""

import re

from vantage.rewards.notation import plain
from vantage.rewards.references import reference
from vantage.rewards.text import boxed, text

MARKS = re.compile(r"[\"'`,;:!?]|(?<=[^\W\d])\.|\b(?:the|an?)\s+")


def string(completions: list, answer: list[str], **columns) -> list[float]:
    r"""1.0 where the last `\boxed{...}` is the reference, else 0.0.

    Case, white space, articles, quotation and punctuation do not count.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(alike(boxed(text(completion)), str(truth))) for completion, truth in pairs]


def alike(given: str | None, truth: str) -> bool:
    """Whether an answer, None where there is none, is the reference word for word."""
    return given is not None and bool(given.strip()) and normal(given) == normal(reference(truth))


def normal(answer: str) -> str:
    """An answer without case, articles, quotation, punctuation and superfluous white space."""
    bare = plain(answer).casefold()
    return " ".join(MARKS.sub("", bare).split()) or bare
