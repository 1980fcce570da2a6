"""Rewards for an answer, in a box or in `<answer>` tags, that equals the reference."""

from vantage.rewards import comparing
from vantage.rewards.notation import LONGEST
from vantage.rewards.references import reference
from vantage.rewards.text import boxed, tagged, text


def accuracy(completions: list, answer: list[str], **columns) -> list[float]:
    r"""Return 1.0 where the last `\boxed{...}` equals the reference answer, else 0.0.

    Answers are compared by value, not as strings; see `vantage.rewards.values`.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(correct(boxed(text(completion)), str(truth))) for completion, truth in pairs]


def tag_accuracy(completions: list, answer: list[str], **columns) -> list[float]:
    """Return 1.0 where the text in the last `<answer>` tags equals the reference, else 0.0.

    This is the format of R1-V and open-r1.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(correct(tagged(text(completion)), str(truth))) for completion, truth in pairs]


def correct(given: str | None, truth: str) -> bool:
    """Return whether an answer equals the reference; False for an answer of None."""
    if given is None:
        return False
    given, truth = given.strip(), truth.strip()
    if given == truth:
        return True
    if given.isdecimal() and truth.isdecimal() and max(len(given), len(truth)) <= LONGEST:
        return int(given) == int(truth)
    truth = reference(truth)
    if not given or max(len(given), len(truth)) > LONGEST:
        return given == truth
    return comparing.same(given, truth)
