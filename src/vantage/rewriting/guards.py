"""Which rewrites are acceptable: small pure functions, each with one reason to refuse.

They see the texts alone and refuse when in doubt, which costs a rewrite and no wrong label. What
they cannot see, such as "longer" that became "shorter" or two lengths that changed places, is for
the check of meaning, which asks a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal

from vantage.rewriting import contents

SHORTEST, LONGEST = 0.5, 2.5  # of the original's length
SLACK = 40  # characters beyond these, for short questions

REFUSALS = re.compile(
    r"^\W*(?:(?:i'?m|i am)\s+(?:very |so )?(?:sorry|unable|afraid)|sorry\b"
    r"|i (?:can'?t|cannot|can not|won'?t)\b"
    r"|i apologi[sz]e|as an ai\b|as a language model|unfortunately,? i\b|i do(?:n't| not) feel)",
    re.I,
)
NEGATION = re.compile(r"\b(?:not|never|none|nor|neither|without|except|cannot)\b|n't\b", re.I)
GIVEN_AWAY = r"\b(?:answer|correct|solution|result)\b[^.?!\n]{{0,40}}(?<!\w){}(?!\w)"
FEW_WORDS = 5  # content words below which two wordings may share none


@dataclass(frozen=True)
class Pair:
    """What a guard sees.

    Attributes:
        original: the question.
        rewrite: another wording of it.
        answer: the reference answer, empty where there is none.
        taken: wordings of the question that were accepted before, as `wording` has them.
    """

    original: str
    rewrite: str
    answer: str = ""
    taken: Collection[str] = ()


Guard = Callable[[Pair], str | None]


def refusal(pair: Pair) -> str | None:
    """The model declined, where the question does not begin so itself."""
    return None if is_refusal(pair.original) or not is_refusal(pair.rewrite) else "a refusal"


def is_refusal(text: str) -> bool:
    """Whether a model's words decline what it was asked."""
    return bool(REFUSALS.search(contents.unified(text)))


def characters(pair: Pair) -> str | None:
    """No control or invisible characters that the original does not have."""
    new = contents.hidden_characters(pair.rewrite) - contents.hidden_characters(pair.original)
    return f"new characters {_listed(map(ascii, new))}" if new else None


def placeholders(pair: Pair) -> str | None:
    """`<image>` and every other tag as often as in the original."""
    before, after = contents.tags(pair.original), contents.tags(pair.rewrite)
    changed = {tag for tag in before | after if before[tag] != after[tag]}
    return f"another number of {_listed(changed)}" if changed else None


def length(pair: Pair) -> str | None:
    """Neither much shorter nor much longer."""
    before, after = len(pair.original), len(pair.rewrite)
    if SHORTEST * before - SLACK <= after <= LONGEST * before + SLACK and after:
        return None
    return f"{after} characters for {before}"


def copy(pair: Pair) -> str | None:
    """Another wording than the original's and those taken, punctuation and case aside."""
    worded = wording(pair.rewrite)
    if worded == wording(pair.original):
        return "a copy of the question"
    return "a copy of another rewrite" if worded in pair.taken else None


def wording(text: str) -> str:
    """The same for texts that differ in punctuation and case alone."""
    return contents.plain(text)


def numbers(pair: Pair) -> str | None:
    """The same numbers, in digits or words."""
    return _kept(contents.numbers(pair.original), contents.numbers(pair.rewrite))


def units(pair: Pair) -> str | None:
    """The same units, abbreviated or not."""
    return _kept(contents.units(pair.original), contents.units(pair.rewrite))


def mathematics(pair: Pair) -> str | None:
    """The same formulas, LaTeX commands and signs."""
    sides = (pair.original, pair.rewrite), (pair.rewrite, pair.original)
    for kind, (here, there) in zip(("missing", "new"), sides, strict=True):
        words = contents.squeezed(there)
        gone = {formula for formula in contents.formulas(here) if _bare(formula) not in words}
        gone |= {f"\\{name}" for name in contents.commands(here) - contents.commands(there)}
        if gone:
            return f"{kind}: {_listed(gone)}"
    return None


def names(pair: Pair) -> str | None:
    """The same names of points, triangles and variables."""
    return _kept(contents.names(pair.original), contents.names(pair.rewrite))


def choices(pair: Pair) -> str | None:
    """The same choices behind the same letters, in whatever brackets."""
    before, after = contents.choices(pair.original), contents.choices(pair.rewrite)
    if before == after:
        return None
    changed = {c for c in before | after if before.get(c) != after.get(c)}
    return f"changed: {_listed(changed)}"


def negation(pair: Pair) -> str | None:
    """Not a "not" more or less."""
    before, after = (bool(NEGATION.search(text)) for text in (pair.original, pair.rewrite))
    return None if before == after else "a 'not' more or less"


def answer(pair: Pair) -> str | None:
    """The answer does not stand in it, unless it stood in the question."""
    told = pair.answer.strip()
    if not told:
        return None
    announced = GIVEN_AWAY.format(re.escape(told))
    for mentioned in (_mentions, lambda text, told: bool(re.search(announced, text, re.I))):
        if mentioned(pair.rewrite, told) and not mentioned(pair.original, told):
            return f"the answer {told[:40]!r} is given away"
    return None


def topic(pair: Pair) -> str | None:
    """A word in common, where both have several."""
    before, after = _content_words(pair.original), _content_words(pair.rewrite)
    if min(len(before), len(after)) < FEW_WORDS or before & after:
        return None
    return "no word in common with the question"


# Asked in this order; the first reason counts.
GUARDS: dict[str, Guard] = {
    guard.__name__: guard
    for guard in (
        refusal,
        length,  # before what takes longer for longer texts
        characters,
        placeholders,
        copy,
        choices,
        answer,
        numbers,
        units,
        mathematics,
        names,
        negation,
        topic,
    )
}


def reason(pair: Pair) -> str | None:
    """Why the rewrite is not acceptable, as "guard: what is wrong"; None where it is."""
    for name, guard in GUARDS.items():
        wrong = guard(pair)
        if wrong:
            return f"{name}: {wrong}"
    return None


def _kept(before: contents.Found, after: contents.Found) -> str | None:
    if gone := before.missing_in(after):
        return f"missing: {_listed(gone)}"
    if new := after.missing_in(before):
        return f"new: {_listed(new)}"
    return None


def _listed(items) -> str:
    shown = (f"{item:f}" if isinstance(item, Decimal) else str(item) for item in items)
    return ", ".join(sorted(shown))[:120]


def _bare(formula: str) -> str:
    return re.sub(r"\\[()\[\]]|\$", "", formula)


def _mentions(text: str, told: str) -> bool:
    """Whether an answer stands in a text: as a number, a letter, or word for word."""
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
    """Beginnings of the longer words, so that "adding" and "added" are one."""
    return {word[:4] for word in re.findall(r"[^\W\d_]{4,}", text.casefold())}
