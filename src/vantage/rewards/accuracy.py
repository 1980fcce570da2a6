"""Whether the boxed answer equals the reference."""

import functools

from vantage.rewards.text import boxed, text

LONGEST = 1_000  # characters of an answer that are looked at as mathematics


def accuracy(completions: list, answer: list[str], **columns) -> list[float]:
    r"""1.0 where the last `\boxed{...}` equals the reference answer, else 0.0.

    Equal texts are equal; else math-verify compares them as mathematics, within its own
    time limit.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(correct(boxed(text(completion)), str(truth))) for completion, truth in pairs]


def correct(given: str | None, truth: str) -> bool:
    """Whether an answer, None where there is none, equals the reference."""
    if given is None:
        return False
    if given.strip() == truth.strip():
        return True
    return len(given) <= LONGEST and _same_mathematics(given.strip(), truth.strip())


@functools.lru_cache(maxsize=100_000)
def _same_mathematics(given: str, truth: str) -> bool:
    from math_verify import parse, verify

    if given.isdecimal() and truth.isdecimal():
        return int(given) == int(truth)
    return bool(verify(parse(f"${truth}$"), parse(f"${given}$")))
