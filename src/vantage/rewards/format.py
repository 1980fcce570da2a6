"""Rewards for a response that thinks first, then gives its answer in a box or in tags."""

import re

from vantage.rewards.text import text

# Atomic groups prevent backtracking: if the first match of a group fails, so do later ones.
# Section 5.1 of https://arxiv.org/abs/2508.05612: <think> ... </think>, then \boxed{...}.
BOXED = re.compile(r"\s*<think>(?>.*?</think>)(?>.*?\\(?:boxed|fbox)\s*\{).*?\}", re.DOTALL)
TAGGED = re.compile(r"\s*<think>(?>.*?</think>)\s*<answer>(?>.*?</answer>)\s*", re.DOTALL)


def format(completions: list, **columns) -> list[float]:
    r"""Return 1.0 for a response of the form `<think> ... </think> ... \boxed{...}`, else 0.0."""
    return [float(BOXED.match(text(completion)) is not None) for completion in completions]


def tag_format(completions: list, **columns) -> list[float]:
    """Return 1.0 for a response `<think> ... </think> <answer> ... </answer>`, else 0.0."""
    return [float(TAGGED.fullmatch(text(completion)) is not None) for completion in completions]
