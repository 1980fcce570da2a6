"""Rewards for answers in `<answer>` tags instead of boxes, the format of R1-V and open-r1."""

import re

from vantage.rewards.accuracy import correct
from vantage.rewards.text import tagged, text

# Atomic groups prevent backtracking: if the first match of a group fails, so do later ones.
PATTERN = re.compile(r"\s*<think>(?>.*?</think>)\s*<answer>(?>.*?</answer>)\s*", re.DOTALL)


def tag_accuracy(completions: list, answer: list[str], **columns) -> list[float]:
    """Return 1.0 where the text in the last `<answer>` tags equals the reference, else 0.0."""
    pairs = zip(completions, answer, strict=True)
    return [float(correct(tagged(text(completion)), str(truth))) for completion, truth in pairs]


def tag_format(completions: list, **columns) -> list[float]:
    """Return 1.0 for a response `<think> ... </think> <answer> ... </answer>`, else 0.0."""
    return [float(PATTERN.fullmatch(text(completion)) is not None) for completion in completions]
