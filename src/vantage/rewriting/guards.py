"""Guards that accept or reject a rewrite: pure functions with one reason each.

They only see texts and reject when in doubt, which costs a rewrite but never gives a wrong label.
They cannot detect, for example, "longer" changed to "shorter" or two swapped lengths. The judge,
a server that compares the meanings, checks for that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from vantage.rewriting import contents

SHORTEST, LONGEST = 0.5, 2.5  # allowed length relative to the original
SLACK = 40  # additional characters allowed, for short questions

REFUSALS = re.compile(
    r"^\W*(?:(?:i'?m|i am)\s+(?:very |so )?(?:sorry|unable|afraid)|sorry\b"
    r"|i (?:can'?t|cannot|can not|won'?t)\b"
    r"|i apologi[sz]e|as an ai\b|as a language model|unfortunately,? i\b|i do(?:n't| not) feel)",
    re.I,
)
NEGATION = re.compile(r"\b(?:not|never|none|nor|neither|without|except|cannot)\b|n't\b", re.I)
GIVEN_AWAY = r"\b(?:answer|correct|solution|result)\b[^.?!\n]{{0,40}}(?<!\w){}(?!\w)"
FEW_WORDS = 5  # wordings with fewer content words need not share any


@dataclass(frozen=True)
class Pair:
    """Input of a guard.

    Attributes:
        original: The question.
        rewrite: The rewrite to check.
        answer: The reference answer; empty if unknown.
        taken: Normalized rewrites accepted before, see `wording`.
    """

    original: str
    rewrite: str
    answer: str = ""
    taken: Collection[str] = ()


Guard = Callable[[Pair], str | None]


def refusal(pair: Pair) -> str | None:
    """Reject a refusal by the model, unless the question itself begins like one."""
    return None if is_refusal(pair.original) or not is_refusal(pair.rewrite) else "a refusal"


def is_refusal(text: str) -> bool:
    """Whether a text begins like a refusal of a model."""
    return bool(REFUSALS.search(contents.unified(text)))


def characters(pair: Pair) -> str | None:
    """Reject invisible characters that the original does not contain."""
    new = contents.hidden_characters(pair.rewrite) - contents.hidden_characters(pair.original)
    return f"new characters {_listed(map(ascii, new))}" if new else None


def placeholders(pair: Pair) -> str | None:
    """Require `<image>` and every other tag as often as in the original."""
    before, after = contents.tags(pair.original), contents.tags(pair.rewrite)
    changed = {tag for tag in before | after if before[tag] != after[tag]}
    return f"another number of {_listed(changed)}" if changed else None


def length(pair: Pair) -> str | None:
    """Reject a rewrite that is much shorter or much longer."""
    before, after = len(pair.original), len(pair.rewrite)
    if SHORTEST * before - SLACK <= after <= LONGEST * before + SLACK and after:
        return None
    return f"{after} characters, the question has {before}"


def copy(pair: Pair) -> str | None:
    """Reject a copy of the question or of an accepted rewrite, up to punctuation and case."""
    worded = wording(pair.rewrite)
    if worded == wording(pair.original):
        return "a copy of the question"
    return "a copy of another rewrite" if worded in pair.taken else None


def wording(text: str) -> str:
    """Reduce a text to its letters and digits, so that punctuation and case do not matter."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def kept(find: Callable[[str], contents.Found], pair: Pair) -> str | None:
    """Require the same contents of a kind, such as numbers, in any form."""
    before, after = find(pair.original), find(pair.rewrite)
    if gone := before.missing_in(after):
        return f"missing: {_listed(gone)}"
    new = after.missing_in(before)
    return f"new: {_listed(new)}" if new else None


def mathematics(pair: Pair) -> str | None:
    """Require the same formulas, LaTeX commands and signs."""
    sides = (pair.original, pair.rewrite), (pair.rewrite, pair.original)
    for kind, (here, there) in zip(("missing", "new"), sides, strict=True):
        words = contents.squeezed(there)
        gone = {formula for formula in contents.formulas(here) if _bare(formula) not in words}
        gone |= {f"\\{name}" for name in contents.commands(here) - contents.commands(there)}
        if gone:
            return f"{kind}: {_listed(gone)}"
    return None


def choices(pair: Pair) -> str | None:
    """Require the same options with the same letters, in any brackets."""
    before, after = contents.choices(pair.original), contents.choices(pair.rewrite)
    if before == after:
        return None
    changed = {c for c in before | after if before.get(c) != after.get(c)}
    return f"changed: {_listed(changed)}"


def negation(pair: Pair) -> str | None:
    """Reject an added or removed negation."""
    before, after = (bool(NEGATION.search(text)) for text in (pair.original, pair.rewrite))
    return None if before == after else "a negation added or removed"


def answer(pair: Pair) -> str | None:
    """Reject a rewrite that contains the answer, unless the question contains it."""
    told = pair.answer.strip()
    if not told:
        return None
    announced = GIVEN_AWAY.format(re.escape(told))
    for mentioned in (_mentions, lambda text, told: bool(re.search(announced, text, re.I))):
        if mentioned(pair.rewrite, told) and not mentioned(pair.original, told):
            return f"the answer {told[:40]!r} is given away"
    return None


def topic(pair: Pair) -> str | None:
    """Require a common word if both texts have several content words."""
    before, after = _content_words(pair.original), _content_words(pair.rewrite)
    if min(len(before), len(after)) < FEW_WORDS or before & after:
        return None
    return "no word in common with the question"


# Applied in this order; the first reason is reported.
GUARDS: dict[str, Guard] = {
    "refusal": refusal,
    "length": length,  # first, since later guards take longer on long texts
    "characters": characters,
    "placeholders": placeholders,
    "copy": copy,
    "choices": choices,
    "answer": answer,
    "numbers": partial(kept, contents.numbers),
    "units": partial(kept, contents.units),
    "mathematics": mathematics,
    "names": partial(kept, contents.names),
    "negation": negation,
    "topic": topic,
}


def reason(pair: Pair) -> str | None:
    """Reason to reject a rewrite, as "guard: reason"; None if all guards accept it."""
    for name, guard in GUARDS.items():
        wrong = guard(pair)
        if wrong:
            return f"{name}: {wrong}"
    return None


def _listed(items) -> str:
    shown = (f"{item:f}" if isinstance(item, Decimal) else str(item) for item in items)
    return ", ".join(sorted(shown))[:120]


def _bare(formula: str) -> str:
    return re.sub(r"\\[()\[\]]|\$", "", formula)


def _mentions(text: str, told: str) -> bool:
    """Whether a text mentions an answer: as a number, as a letter, or verbatim."""
    values = contents.numbers(told).certain
    if re.fullmatch(r"[-\d.,\s]+|[A-Za-z-]+", told) and len(values) == 1:
        return values <= contents.numbers(text).certain | (contents.numbers(text).possible - {1})
    if len(told) == 1 and told.isalpha():
        return told.upper() in contents.names(text).certain
    if re.search(r"[\\^=+*/]", told):
        return _bare(contents.squeezed(told)) in contents.squeezed(text)
    words = r"\W+".join(map(re.escape, re.findall(r"\w+", told))) or re.escape(told)
    return bool(re.search(rf"(?<!\w){words}(?!\w)", text, re.I))


def _content_words(text: str) -> set[str]:
    """First letters of the longer words, so that "adding" and "added" are equal."""
    return {word[:4] for word in re.findall(r"[^\W\d_]{4,}", text.casefold())}
