"""Reward for multiple choice: which options an answer names."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from vantage.rewards import units
from vantage.rewards.accuracy import correct
from vantage.rewards.comparing import SECONDS
from vantage.rewards.notation import LONGEST, plain
from vantage.rewards.references import reference
from vantage.rewards.string import normal
from vantage.rewards.text import EXPLANATION, boxed, text
from vantage.rewards.values import LETTERS, Options, read

ALONE = re.compile(r"\(?([A-Ja-j])\)?[.:)]*")
FIRST = re.compile(r"(?:option|choice|answer)?\s*(?:\(([A-J])\)|([A-J])[.:)])(?=\s|$)", re.I)
# "A triangle" and the pronoun "I" name no option.
INSIDE = re.compile(
    r"\(([A-J])\)|\b(?:option|choice|answer)\s*(?:is|:)?\s*([A-J])\b(?!['-])"
    r"|\b([B-HJ])\b(?!['-])|\b(A)\b(?!['-]|\s+(?!or\b|and\b)[a-z])"
)

DENIED = re.compile(
    r"\b(?:not|no|neither|nor|never|none|except|without|wrong|incorrect|false|eliminated?)\b|n't\b",
    re.I,
)


def choice(
    completions: list, answer: list[str], choices: list | None = None, **columns
) -> list[float]:
    r"""Return 1.0 where the last `\boxed{...}` names the same options as the reference, else 0.0.

    If the reference names several options ("AC"), the answer must name all of them and no other.

    Args:
        completions: Responses.
        answer: Reference answers: the letters or the text of the correct options.
        choices: Texts of the options of each row, if the data have them.
    """
    options = [row or () for row in choices] if choices else [()] * len(answer)
    rows = zip(completions, answer, options, strict=True)
    return [float(chosen(boxed(text(said)), str(truth), row)) for said, truth, row in rows]


def chosen(given: str | None, truth: str, options: Sequence[str] = ()) -> bool:
    """Return whether an answer names the same options as the reference; False for None."""
    right = named(reference(truth), options)
    return given is not None and bool(right) and named(given, options) == right


def named(given: str, options: Sequence[str] = ()) -> frozenset[str]:
    """Return the letters of all options that an answer names.

    A single option is found by `letter`; several are written as "AC" or "A and C".

    Args:
        given: An answer.
        options: Texts of the options, A first; empty if unknown.
    """
    one = letter(given, options)
    if one is not None:
        return frozenset(one)
    known = frozenset(LETTERS[: len(options)] or LETTERS)
    values = read(plain(given)) if len(given) <= LONGEST else ()
    several = [frozenset(value.letters) for value in values if isinstance(value, Options)]
    return next((letters for letters in several if letters <= known), frozenset())


def letter(given: str, options: Sequence[str] = ()) -> str | None:
    """Return the letter of the one option that an answer names; None for no or several options.

    An answer names an option by its letter alone, its text, its letter before other text as in
    "(B) 8", its letter inside a sentence, or its value if no other option has that value.

    Args:
        given: An answer.
        options: Texts of the options, A first; empty if unknown.
    """
    answer = plain(given[:LONGEST])
    known = LETTERS[: len(options)] or LETTERS
    if found := ALONE.fullmatch(answer):
        return _known(found[1].upper(), known)
    if answer and (same := _same_text(answer, options)):
        return same
    if found := FIRST.match(answer):
        # An answer with several letters, as in "(A) and (B)", chooses none of them.
        named = {one.upper() for one in _inside(answer)} | {(found[1] or found[2]).upper()}
        return _known(named.pop(), known) if len(named & set(known)) == 1 else None
    named = {one for one in _inside(answer) if one in known}
    if named and DENIED.search(EXPLANATION.split(answer)[0]):
        return None
    if named:
        return named.pop() if len(named) == 1 else None
    return _same_value(answer, options)


def _same_value(answer: str, options: Sequence[str]) -> str | None:
    """Return the only option with the value of the answer; None after the time limit."""
    units.load()  # loading pint must not count against the time limit
    until = time.monotonic() + SECONDS
    equal: list[str] = []
    for name, option in zip(LETTERS, options, strict=False):
        if time.monotonic() > until:
            return None
        equal += [name] if correct(answer, option) else []
    return equal[0] if len(equal) == 1 else None


def _inside(answer: str) -> list[str]:
    return ["".join(groups) for groups in INSIDE.findall(answer)]


def _known(name: str, known: str) -> str | None:
    return name if name in known else None


def _same_text(answer: str, options: Sequence[str]) -> str | None:
    """Return the only option with the text of the answer."""
    wanted = normal(answer)
    texts = [normal(plain(option)) for option in options]
    same = [name for name, one in zip(LETTERS, texts, strict=False) if one and one == wanted]
    return same[0] if len(same) == 1 else None
