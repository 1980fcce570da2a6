"""Whether a response thinks first and boxes its answer."""

import re

from vantage.rewards.text import text

# Section 5.1 of https://arxiv.org/abs/2508.05612: <think> ... </think>, then \boxed{...}.
# Atomic groups: the first of each is as good as any, so nothing is tried twice.
PATTERN = re.compile(r"\s*<think>(?>.*?</think>)(?>.*?\\(?:boxed|fbox)\s*\{).*?\}", re.DOTALL)


def format(completions: list, **columns) -> list[float]:
    r"""1.0 where the response is `<think> ... </think> ... \boxed{...}`, else 0.0."""
    return [float(PATTERN.match(text(completion)) is not None) for completion in completions]
