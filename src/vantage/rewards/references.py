r"""Extraction of the answer from a reference, which data sets write in many forms.

Examples are `<answer> 3 </answer>`, `#### 42`, a whole solution with a `\boxed{}`, and
`['12', '12.0']`. An option with its text ("D. 45°") and a sentence around an answer ("The answer
is B.") need no extraction: `vantage.rewards.values` reads them.
"""

from __future__ import annotations

import ast
import functools
import re

from vantage.rewards import mathematics
from vantage.rewards.notation import LONGEST, plain
from vantage.rewards.text import BOXES, boxed, spoken, tagged
from vantage.rewards.values import Formula, Value, Words, read

HASHES = re.compile(r"####[^\S\n]*([^\n]+)")
FORMS = re.compile(r"\[\s*(['\"]).*\1\s*\]", re.DOTALL)  # the repr of a list of strings
MOST_WORDS = 20  # longest text that an answer can be expected to repeat word for word


@functools.lru_cache(maxsize=20_000)
def reference(written: str) -> str:
    """Return the answer inside a reference; the whole reference if nothing marks an answer."""
    said = spoken(written) if "</think>" in written else written
    in_tags = tagged(said)
    if in_tags is not None:
        return in_tags
    if any(box in said for box in BOXES):
        return boxed(said) or ""
    if hashes := HASHES.findall(said):
        return hashes[-1].strip()
    return _forms(said.strip())


def _forms(written: str) -> str:
    """Rewrite the repr of a list of strings as an enumeration, as answers do."""
    if not FORMS.fullmatch(written) or len(written) > LONGEST:
        return written
    try:
        found = ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return written
    return "; ".join(str(one) for one in found) if found else written


def perfect(written: str) -> str:
    r"""Write a correct response to a reference, with thoughts, `<answer>` tags and a box."""
    answer = reference(written)
    return f"<think>\nIt is {answer}.\n</think>\n<answer>\\boxed{{{answer}}}</answer>"


def fault(written: str) -> str | None:
    """Return why no answer can be compared with a reference; None if answers can be."""
    answer = reference(written)
    if not answer.strip():
        return "it has an empty box or empty <answer> tags"
    is_parsed, words = len(answer) <= LONGEST, len(answer.split())
    values = read(plain(answer)) if is_parsed else ()
    if words > MOST_WORDS and all(isinstance(value, Words) for value in values):
        return (
            f"it is a text of {words} words without a \\boxed{{}}, which no answer repeats word "
            "for word; name the column of the answer alone, or use the reward `judge`"
        )
    if not is_parsed:
        return None  # compared as a text
    if not values:
        return "it contains nothing that can be compared"
    return next((reason for reason in map(_unanswerable, values) if reason), None)


def _unanswerable(value: Value) -> str | None:
    if not isinstance(value, Formula):
        return None
    equal = mathematics.compare(value.text, value.text)
    if equal is None:
        return f"it is a formula that takes more than {mathematics.SECONDS} s to compare"
    return None if equal else "it is a formula that math-verify cannot read"
