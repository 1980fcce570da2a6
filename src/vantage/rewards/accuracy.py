"""Whether the boxed answer equals the reference."""

from vantage.rewards import mathematics
from vantage.rewards.text import boxed, text

LONGEST = 1_000  # characters of an answer, or of a reference, that are looked at as mathematics


def accuracy(completions: list, answer: list[str], **columns) -> list[float]:
    r"""1.0 where the last `\boxed{...}` equals the reference answer, else 0.0.

    Equal texts are equal; else math-verify compares them as mathematics, within a time
    limit.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(correct(boxed(text(completion)), str(truth))) for completion, truth in pairs]


def correct(given: str | None, truth: str) -> bool:
    """Whether an answer, None where there is none, equals the reference."""
    if given is None:
        return False
    if given.strip() == truth.strip():
        return True
    if max(len(given), len(truth)) > LONGEST:
        return False
    return mathematics.same(given.strip(), truth.strip())
