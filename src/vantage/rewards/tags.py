"""Answers in `<answer>` tags instead of boxes, as R1-V and open-r1 ask for them."""

import re

from vantage.rewards.accuracy import correct
from vantage.rewards.text import tagged, text

# Atomic groups: the first end of each is as good as any, so nothing is tried twice.
PATTERN = re.compile(r"\s*<think>(?>.*?</think>)\s*<answer>(?>.*?</answer>)\s*", re.DOTALL)


def tag_accuracy(completions: list, answer: list[str], **columns) -> list[float]:
    """1.0 where what the last `<answer>` tags hold equals the reference answer, else 0.0."""
    pairs = zip(completions, answer, strict=True)
    return [float(correct(tagged(text(completion)), str(truth))) for completion, truth in pairs]


def tag_format(completions: list, **columns) -> list[float]:
    """1.0 where the response is `<think> ... </think> <answer> ... </answer>`, else 0.0."""
    return [float(PATTERN.fullmatch(text(completion)) is not None) for completion in completions]
