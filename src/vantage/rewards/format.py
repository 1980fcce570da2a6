"""Reward for a response that thinks first and boxes its answer."""

import re

from vantage.rewards.text import text

# Section 5.1 of https://arxiv.org/abs/2508.05612: <think> ... </think>, then \boxed{...}.
# Atomic groups prevent backtracking: if the first match of a group fails, so do later ones.
PATTERN = re.compile(r"\s*<think>(?>.*?</think>)(?>.*?\\(?:boxed|fbox)\s*\{).*?\}", re.DOTALL)


def format(completions: list, **columns) -> list[float]:
    r"""Return 1.0 for a response of the form `<think> ... </think> ... \boxed{...}`, else 0.0."""
    return [float(PATTERN.match(text(completion)) is not None) for completion in completions]
