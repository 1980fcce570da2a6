"""Reward for an answer that matches the reference word for word."""

import re

from vantage.rewards.notation import plain
from vantage.rewards.references import reference
from vantage.rewards.text import boxed, text

MARKS = re.compile(r"[\"'`,;:!?]|(?<=[^\W\d])\.|\b(?:the|an?)\s+")


def string(completions: list, answer: list[str], **columns) -> list[float]:
    r"""Return 1.0 where the last `\boxed{...}` matches the reference as a string, else 0.0.

    Case, white space, articles, quotation marks and punctuation are ignored.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(alike(boxed(text(completion)), str(truth))) for completion, truth in pairs]


def alike(given: str | None, truth: str) -> bool:
    """Return whether an answer matches the reference word for word; False for None."""
    return given is not None and bool(given.strip()) and normal(given) == normal(reference(truth))


def normal(answer: str) -> str:
    """Remove case, articles, quotation marks, punctuation and superfluous white space."""
    bare = plain(answer).casefold()
    return " ".join(MARKS.sub("", bare).split()) or bare
