"""Extract numbers, units, formulas, names and options from a question, as pure functions.

Some matches are uncertain: "one" may be a number or a pronoun, and a leading "A" a point or an
article. `Found.certain` is what a rewrite must keep, and `Found.possible` what it may contain.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from vantage.rewards.signs_in_words import COUNTS

TAG = re.compile(r"<[^<>\s]{1,40}>")  # <image>, and special tokens such as <|im_end|>

# Characters mapped to one spelling of the same sign.
SAME_SIGN = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\u2014", "-"),
        **dict.fromkeys("\u2018\u2019\u2032", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u00a0\u2009\u202f", " "),
        **dict.fromkeys("\u00d7\u00b7\u22c5", "*"),
        **dict.fromkeys("\u00f7\u2044", "/"),
        **{"²": "^2", "³": "^3", "°": "^\\circ", "≤": "\\le", "≥": "\\ge", "≠": "\\ne"},
        **{"π": "\\pi", "∠": "\\angle", "△": "\\triangle", "⊥": "\\perp", "∥": "\\parallel"},
        **{"≅": "\\cong", "\u223c": "\\sim", "√": "\\sqrt", "∞": "\\infty", "±": "\\pm"},
    }
)
COMMAND_ALIASES = {
    **{"dfrac": "frac", "tfrac": "frac", "leq": "le", "geq": "ge", "neq": "ne"},
    **{"times": "*", "cdot": "*", "div": "/", "degree": "^\\circ", "lt": "<", "gt": ">"},
}
LAYOUT = (
    r"\\(?:left|right|quad|qquad|displaystyle|text|mathrm|mathbf|mathit|operatorname)(?![a-zA-Z])"
)
LAYOUT += r"|\\[,;:! ]"

SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
# Words that may or may not denote a number.
LOOSE = {"one": 1, "single": 1, "once": 1, "two": 2, "both": 2, "pair": 2, "twice": 2, "double": 2}

DIGITS = re.compile(r"(?<![A-Za-z\d_.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+")
NUMBER_WORD = rf"(?:{'|'.join([*COUNTS, *SCALES])})"
NUMBER_WORDS = re.compile(rf"\b{NUMBER_WORD}(?:(?:[\s-]+|\s+and\s+){NUMBER_WORD})*\b")

# Maps each unit to its abbreviations, which are only read after a number, and its words. Ambiguous
# abbreviations are left out: "5 in the picture", "(B) 5 (C) 7".
UNITS = {
    **{"mm": ("mm", "millimeter millimetre"), "cm": ("cm", "centimeter centimetre")},
    **{"dm": ("dm", "decimeter decimetre"), "m": ("m", "meter metre")},
    **{"km": ("km", "kilometer kilometre"), "inch": ("", "inch"), "foot": ("ft", "foot feet")},
    **{"yard": ("yd", "yard"), "mile": ("mi", "mile"), "mg": ("mg", "milligram")},
    **{"g": ("g", "gram"), "kg": ("kg", "kilogram"), "pound": ("lb lbs", "pound")},
    **{"ounce": ("oz", "ounce"), "ml": ("ml mL", "milliliter millilitre")},
    **{"l": ("l L", "liter litre"), "s": ("s sec", "second"), "min": ("min", "minute")},
    **{"h": ("h hr hrs", "hour"), "day": ("", "day"), "week": ("", "week"), "month": ("", "month")},
    **{"year": ("yr yrs", "year"), "degree": ("deg", "degree"), "radian": ("rad", "radian")},
    **{"celsius": ("", "celsius"), "fahrenheit": ("", "fahrenheit"), "percent": ("%", "percent")},
    **{"dollar": ("", "dollar"), "cent": ("", "cent"), "euro": ("", "euro")},
    **{"newton": ("N", "newton"), "joule": ("J", "joule"), "watt": ("W", "watt")},
    **{"volt": ("V", "volt"), "ampere": ("mA", "ampere amp"), "ohm": ("", "ohm")},
    **{"hertz": ("Hz", "hertz"), "pascal": ("Pa kPa", "pascal"), "mole": ("mol", "mole")},
}
ABBREVIATIONS = {short: unit for unit, (shorts, _) in UNITS.items() for short in shorts.split()}
FULL = {word: unit for unit, (_, words) in UNITS.items() for word in words.split()}
PLURALS = {"feet": "foot", "inches": "inch", "hertz": "hertz", "percent": "percent"}
PLURALS |= {"celsius": "celsius", "fahrenheit": "fahrenheit"}
PLURALS |= {f"{word}s": unit for word, unit in FULL.items() if word not in ("feet", "inch")}
SYMBOLS = {
    **{"%": "percent", "\\%": "percent", "^\\circ": "degree"},
    **{"€": "euro", "£": "pound sterling"},
}
SHORT = "|".join(sorted(map(re.escape, ABBREVIATIONS), key=len, reverse=True))
BEHIND_A_NUMBER = re.compile(
    rf"(?<=\d)[ -]?({SHORT})(?![A-Za-z])(?:\^\{{?([23])\}}?)?"
    rf"(?: ?/ ?({SHORT})(?![A-Za-z])(?:\^\{{?([23])\}}?)?)?"
)
DEGREES = re.compile(r"\^\{?\\circ\}?")
SINGULAR = re.compile(
    rf"(?:\d|\b{NUMBER_WORD}|\bper|\bin|\bsquare|\bcubic)[\s-]+({'|'.join(FULL)})\b"
)
POWERS = re.compile(r"\b(square|sq|squared|cubic|cubed)\b")
DOLLARS = re.compile(r"\\\$\s*\d|(?<![\\$])\$(?=\d)")

MATHS = re.compile(
    r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<![\\$])\$(?=\S)([^$\n]*?\S)\$(?!\d)", re.S
)
OPERAND = r"(?:\(?-?(?:\d+(?:\.\d+)?[A-Za-z]{0,2}|\\[a-z]+|(?<![A-Za-z])(?:[A-Z]{1,3}|[a-z]))"
OPERAND += r"(?![A-Za-z])\)?'?)"
OPERATOR = r"\s*(?:[-+*/^=<>]|\\(?:le|ge|ne|pm|perp|parallel|cong|sim)(?![a-z]))\s*"
FORMULA = re.compile(rf"{OPERAND}(?:{OPERATOR}{OPERAND})+|\d+\s*:\s*\d+")
COMMAND = re.compile(r"\\([a-zA-Z]+)")

# Only Latin letters delimit a name, since letters of other scripts may touch it.
LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
NAME = re.compile(
    rf"(?<![{LATIN}\\])(?:[A-Z]+(?:_?\{{?\d+\}}?)?'*|[a-z]_?\{{?\d+\}}?)(?![{LATIN}\d])"
)
LETTER = re.compile(rf"(?<![{LATIN}\\'])[b-z](?![{LATIN}\d'_])")
OPENS_A_SENTENCE = re.compile(r"(?:^|[.?!:>]|\n)[\s\"'(]*$")

CHOICE = re.compile(r"(?:^|(?<=[\s,;(]))\(?([A-H])(?:[).:]|\s*-)\s+|(?:^|(?<=[\s,;]))\(([A-H])\)")


@dataclass(frozen=True)
class Found:
    """Certain and possible contents of a text; `possible` includes `certain`."""

    certain: frozenset
    possible: frozenset

    def missing_in(self, other: Found) -> frozenset:
        """Certain contents of this text that are not even possible in the other."""
        return self.certain - other.possible


def found(certain, possible=()) -> Found:
    """Make a `Found`, adding `certain` to `possible`."""
    return Found(frozenset(certain), frozenset(certain) | frozenset(possible))


def unified(text: str) -> str:
    """Normalize a text: one spelling of each sign, and no LaTeX layout commands."""
    text = re.sub(r"(\d)(?:\{,\}|\\,|[\u2009\u202f\u00a0])(?=\d{3}(?!\d))", r"\1", text)
    text = re.sub(LAYOUT, "", text.translate(SAME_SIGN))
    return COMMAND.sub(lambda match: _command(match[1]), text)


def _command(name: str) -> str:
    alias = COMMAND_ALIASES.get(name, name)
    return "\\" + alias if alias.isalpha() else alias


def tags(text: str) -> Counter:
    """Counts of image placeholders and other tags."""
    return Counter(TAG.findall(text))


def numbers(text: str) -> Found:
    """Values of numbers in digits and words; "one", "two" and "both" are uncertain."""
    text = _without_units(text)
    digits = {Decimal(match.replace(",", "")).normalize() for match in DIGITS.findall(text)}
    spoken = {_spoken(match) for match in NUMBER_WORDS.findall(text.casefold())}
    loose = {LOOSE[word] for word in re.findall(r"[a-z]+", text.casefold()) if word in LOOSE}
    return found(digits | (spoken - {1, 2}), loose)


def _without_units(text: str) -> str:
    return BEHIND_A_NUMBER.sub(" ", DEGREES.sub(" ", TAG.sub(" ", unified(text))))


def _spoken(words: str) -> Decimal:
    total, part = 0, 0
    for word in re.findall(r"[a-z]+", words):
        if word in COUNTS:
            part += COUNTS[word]
        elif word == "hundred":
            part = max(part, 1) * 100
        elif word in SCALES:
            total, part = total + max(part, 1) * SCALES[word], 0
    return Decimal(total + part).normalize()


def units(text: str) -> Found:
    """Units, including squared and cubed ones; the "second" in "the second digit" is uncertain."""
    text = unified(text)
    behind = [part for match in BEHIND_A_NUMBER.findall(text) for part in match if part]
    spoken = text.casefold()
    words = re.findall(r"[a-z]+", spoken)
    certain = {ABBREVIATIONS.get(part, f"power {part}") for part in behind}
    certain |= {unit for symbol, unit in SYMBOLS.items() if symbol in text}
    certain |= {"dollar"} if DOLLARS.search(MATHS.sub(" ", text)) else set()
    certain |= {PLURALS[word] for word in words if word in PLURALS}
    certain |= {FULL[word] for word in SINGULAR.findall(spoken)}
    possible = {FULL[word] for word in words if word in FULL}
    possible |= {f"power {3 if 'cub' in power else 2}" for power in POWERS.findall(spoken)}
    return found(certain, possible)


def formulas(text: str) -> set[str]:
    """Formulas without spaces: delimited LaTeX, and operands joined by operators.

    LaTeX that is only a number, letter or name is left to `numbers` and `names`.
    """
    text = _without_units(text)
    segments = [_squeezed("".join(groups)) for groups in MATHS.findall(text)]
    joined = [_squeezed(match) for match in FORMULA.findall(MATHS.sub(" ", text))]
    return {formula for formula in segments + joined if not re.fullmatch(r"-?[\w.,']*", formula)}


def squeezed(text: str) -> str:
    """The text without spaces, units and LaTeX delimiters, in which to search for formulas."""
    return _squeezed(re.sub(r"\\[()\[\]]|\$", "", _without_units(text)))


def _squeezed(formula: str) -> str:
    return re.sub(r"\s+", "", formula)


def commands(text: str) -> set[str]:
    """LaTeX commands and mathematical signs, except layout commands."""
    return set(COMMAND.findall(unified(text))) - {"circ"}


def names(text: str) -> Found:
    """Names of points, triangles and variables: ABC, A', P1, x; a leading "A" is uncertain."""
    text = _without_units(text)
    text = re.sub(r"\\[a-zA-Z]+", " ", text)
    certain, possible = set(LETTER.findall(text)), set(re.findall(r"\ba\b", text))
    for match in NAME.finditer(text):
        article = match[0] == "A" and OPENS_A_SENTENCE.search(text[: match.start()])
        (possible if article or match[0] == "I" else certain).add(match[0])
    return found(certain, possible)


def choices(text: str) -> dict[str, str]:
    """Text of each option by letter; empty if the text has no options A, B, ..."""
    markers = list(CHOICE.finditer(text))
    start = next((n for n, m in enumerate(markers) if _letter(m) == "A"), len(markers))
    chosen: list[re.Match] = []
    for marker in markers[start:]:
        if _letter(marker) == "ABCDEFGH"[len(chosen) : len(chosen) + 1]:
            chosen.append(marker)
    if len(chosen) < 2:
        return {}
    ends = [*(marker.start() for marker in chosen[1:]), len(text)]
    texts = [text[m.end() : end] for m, end in zip(chosen, ends, strict=True)]
    return {_letter(m): _choice(t) for m, t in zip(chosen, texts, strict=True)}


def _letter(marker: re.Match) -> str:
    return marker[1] or marker[2]


def _choice(text: str) -> str:
    """Normalized first line of an option, for comparison."""
    line = (text.strip().splitlines() or [""])[0]
    return _squeezed(unified(line)).strip(".,;()").casefold()


def hidden_characters(text: str) -> set[str]:
    """Invisible characters: control, format, private-use and replacement characters."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn"}
    found = {c for c in text if unicodedata.category(c) in kinds or c == "\ufffd"}
    return found - {"\n", "\t"}
