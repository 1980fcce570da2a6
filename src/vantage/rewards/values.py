r"""What an answer says: a quantity, a time, several values, a region, a relation, options, words.

This is the one reading of answers and references, for all rewards and benchmarks. It goes one way:

    response -> final answer     `text.boxed`, `text.tagged`, `text.final`: where it stands
             -> normal form      `notation.plain`: Unicode folded, the dress of LaTeX taken off
             -> values           `values.read`: each value that the text can mean
             -> verdict          `comparing.same`: whether one of each side is the same

A reference goes through `references.reference` first, which finds the answer inside a solution.
Units are `units.unit`'s, numbers and formulas `expressions.expression`'s. What neither can
read, sums, integrals and limits, is left to math-verify (`mathematics.same`), which is slow.

A text that can mean several things has several values ("3m" is three metres or three times m); it
is the same as another one where any two of them agree. A text with two different values ("5~6",
"3 or 5", "3 | 5") has both, or none, and so is never the same as one of them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from vantage.rewards.expressions import (
    FUNCTIONS,
    VARIABLES,
    Node,
    expression,
    has,
    variables,
)
from vantage.rewards.notation import DIGITS, LONGEST
from vantage.rewards.units import Unit, is_thing, unit


class Quantity(NamedTuple):
    """A number or formula with what it counts.

    Attributes:
        number: the expression, a fraction where it is a plain number.
        unit: None where none is stated.
        rounded: whether it was written as a decimal.
    """

    number: Node
    unit: Unit | None
    rounded: bool


class Options(NamedTuple):
    """Letters of options; `content` is what is written behind a single one."""

    letters: frozenset[str]
    content: str


class Time(NamedTuple):
    """A time of day in minutes; whether morning or afternoon is stated."""

    minutes: int
    stated: bool


class Ratio(NamedTuple):
    """Parts of a ratio; the time of day that "4:20" is too."""

    parts: tuple[Node, ...]
    time: Time | None


class Range(NamedTuple):
    """From one text to another: 5-10."""

    low: str
    high: str


class Several(NamedTuple):
    """Several values, as texts in normal form.

    Attributes:
        items: in order.
        brackets: around them, such as "()", "[]" or "{}"; empty for none.
        name: of a point, as in A(3, 4).
    """

    items: tuple[str, ...]
    brackets: str
    name: str = ""


class Piece(NamedTuple):
    """An interval: its ends as texts, and whether they belong to it."""

    low: str
    high: str
    has_low: bool
    has_high: bool


class Region(NamedTuple):
    """A union of intervals of a variable, empty where none is named."""

    variable: str
    pieces: tuple[Piece, ...]


class Relation(NamedTuple):
    """Texts with signs of relation between them: x = 3, 1 < x + y < 3, AB ∥ CD."""

    members: tuple[str, ...]
    signs: tuple[str, ...]


class Matrix(NamedTuple):
    """Rows of texts."""

    rows: tuple[tuple[str, ...], ...]


class Words(NamedTuple):
    """Anything that is said in words, without case and punctuation."""

    text: str


class Formula(NamedTuple):
    """Mathematics that only math-verify can read."""

    text: str


Value: TypeAlias = (
    Quantity
    | Options
    | Time
    | Ratio
    | Range
    | Several
    | Region
    | Relation
    | Matrix
    | Words
    | Formula
)

INFINITY = "\\infty"
DECIMAL = re.compile(rf"([+-]?) ?({DIGITS})")
LETTERS = "ABCDEFGHIJ"

ONE_OPTION = re.compile(r"(?:(?:option|choice|answer) ?)?\(?([A-Ja-j])\)?[.:)]*", re.I)
SOME_OPTIONS = re.compile(
    r"(?:options? |choices? )?\(?[A-J]\)?(?:(?:, ?(?:and )?|、| and | ?& ?|; ?| )\(?[A-J]\)?)+"
)
RUN_OF_OPTIONS = re.compile(r"[A-J]{2,6}")
OPTION_AND_CONTENT = re.compile(
    r"(?:(?:option|choice) )?(?:\(([A-Ja-j])\)|([A-J])[.):、]|([a-j])\)) ?(.+)", re.I | re.DOTALL
)
OPTION_MARK = re.compile(r"\([A-J]\)|(?<![A-Za-z])[A-J][.):](?= |$)|^(?:or|and|but|is|are)\b")

TIME = re.compile(r"(\d{1,2})(?::([0-5]\d))?(?::([0-5]\d))? ?([ap])\.? ?m\.?", re.I)
CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)")
RANGE = re.compile(r"([+-]?[\d.,]+%?) ?(?:-|~|to|through) ?([\d.,]+.*)")
TO = re.compile(r" to ")

CONNECTED = re.compile(r"(?:so|thus|hence|therefore|then)\b,? (?=\S)", re.I)
CHOSEN = re.compile(
    r"(?:(?:因此|所以|故),?)?(?:答案(?:是|为)?|故?选):? ?(?=\S)|(?:the )?point (?=[A-Z]\()", re.I
)
INTRODUCTION = re.compile(
    r"(?:[A-Za-z]+ ){0,6}?"
    r"(?:is|are|equals|was|were)(?: equal to)?(?::| |: )(?!not\b|no\b)(?=.)",
    re.I,
)
NAMED = re.compile(r"(?!(?:option|choice) [A-J]:)[A-Za-z][A-Za-z ]{2,30}: ?(?=.)", re.I)
ABOUT = re.compile(
    r"(?:\\approx|大?约为?|approximately|approx\.?|about|around|roughly|~|\\sim|no\.|№|#+) ?"
    r"(?=[\d\\$.-])",
    re.I,
)
ANSWERS = re.compile(r"\b(?:answer|result|solution|option|choice)\b", re.I)

SIGNS = re.compile(
    r"\\(?:neq|leq|geq|approx|in|parallel|perp|cong|sim|equiv|subseteq|subset|to|Rightarrow)"
    r"(?![A-Za-z])|<=|>=|!=|==|[=<>]"
)
SPELLED = {"<=": "\\leq", ">=": "\\geq", "!=": "\\neq", "==": "="}
COMMA = r"(?<!\d),|,(?!\d{3}(?!\d))"  # one that does not group digits
SEPARATORS = re.compile(rf",? and |,? or |[或和且、]|{COMMA}|[;\n]|\\cup(?![A-Za-z])")
IN_BRACKETS = re.compile(r",? and |,? or |[或和、,;\n]")
BUILDER = re.compile(r"\\?\{ ?([A-Za-z])(?: ?\\in ?[^|:]*)? ?[|:] ?(.+?) ?\\?\}", re.DOTALL)
POINT = re.compile(r"[A-Z]'?(?:_\{?\d\}?)? ?(?==? ?\()=? ?")
VARIABLE = re.compile(
    r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|omega))(?:_\{?\w+\}?)?"
)
MATRIX = re.compile(
    r"\\begin ?\{([bpBv]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end ?\{\1\}", re.DOTALL
)
BEYOND = re.compile(
    r"\\(?:int|iint|oint|sum|prod|lim|cap|setminus|begin|det|max|min|gcd|partial|lfloor|"
    r"lceil|pmod|bmod|mod|hat|sup|inf|log|sinh|cosh|ln)(?![A-Za-z])"
)

CURRENCY = re.compile(r"([+-]?) ?([$€£¥₹]) ?(?=[\d.\\-])")
MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
MAGNITUDE = re.compile(rf"(.*\S) ?\b({'|'.join(MAGNITUDES)}|万|亿)s?\b(.*)", re.I | re.DOTALL)
UNIT_STARTS = re.compile(r"(?<![A-Za-z\\_])[A-Za-z°%$€£¥¢Ωμ\u4e00-\u9fff(\[]|(?<=[a-z\d])\\Omega")
MICRO = re.compile(r"\\mu ?(?=[A-Za-z])")
COMPOUND = re.compile(r"(?<=[A-Za-z小时分钟]),? (?:and )?(?=\d)")
A_HALF = re.compile(r" and (?:a|one)[ -]half\b", re.I)
AND_A_HALF = re.compile(r"(-?\d+) and (\d+ ?/ ?\d+|\\frac ?\{\d+\} ?\{\d+\}|\\frac ?\d ?\d)(.*)")
SMALL = str.split(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen
"""
)
TENS = str.split("twenty thirty forty fifty sixty seventy eighty ninety")
COUNTS = {name: n for n, name in enumerate(SMALL)} | {
    name: 10 * n for n, name in enumerate(TENS, start=2)
}
PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "eighth": 8}
PART = re.compile(rf"(?:(a|{'|'.join(SMALL[1:10])})[ -])?({'|'.join(PARTS)})s?\b", re.I)
COUNT = re.compile(rf"(?:{'|'.join(sorted(COUNTS, key=len, reverse=True))})\b", re.I)
PHRASE = re.compile(r"(?=.*[A-Za-z]{2})[A-Za-z]+(?:[ -][A-Za-z]+)+")  # Mr Li, x-ray
FRACTION = re.compile(r"(-)?(?:\\frac ?\{ ?(\d+) ?\} ?\{ ?(\d+) ?\}|(\d+) ?/ ?(\d+))")
MEASURED = re.compile(
    r"(-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?) (?!to\b|and\b|or\b|x\b|[AaPp][Mm]\b)([A-Za-z]{2,})"
)
LONG_WORD = re.compile(r"[A-Za-z]{5,}")
NO_WORDS = {*COUNTS, *VARIABLES, *FUNCTIONS, *MAGNITUDES, "false"}
YES_OR_NO = re.compile(r"(yes|no|true|false)\b ?[,.;:!]", re.I)
JUDGEMENTS = re.compile(r"\b(?:yes|no|true|false)\b")
CHEMICAL = re.compile(r"(?=.*\d)(?:[A-Z][a-z]?(?:_?\{?\d{1,3}\}?)? ?){2,}")  # H_2O
SPOKEN = re.compile(r"\\?[A-Za-z]+(?:[ -][A-Za-z]+)*")  # letters alone: variables, or words
PUNCTUATION = re.compile(r"[\"'`,;:!?.\\_{}]|\b(?:the|an?)\s+(?=\w)")


@functools.lru_cache(maxsize=100_000)
def read(text: str) -> tuple[Value, ...]:
    """The values that a text in normal form can mean."""
    number = DECIMAL.fullmatch(text)
    if number:
        value = Fraction(number[2].replace(",", "").rstrip("."))
        return (Quantity(-value if number[1] == "-" else value, None, "." in number[2]),)
    if not text or len(text) > LONGEST:
        return ()
    quick = _quickly(text)
    if quick is not None:
        return (quick,)
    found = list(_values(_bare(text)))
    if CHEMICAL.fullmatch(text):
        found.append(Words(re.sub(r"[ _{}]", "", text)))
    if not found or SPOKEN.fullmatch(text):
        found += _words(text)
    return tuple(dict.fromkeys(found))


def _quickly(text: str) -> Value | None:
    """What most answers are: a plain fraction, a number with a unit, a word; None for others."""
    if found := FRACTION.fullmatch(text):
        up, down = int(found[2] or found[4]), int(found[3] or found[5])
        return Quantity(Fraction(-up if found[1] else up, down), None, False) if down else None
    if found := MEASURED.fullmatch(text):
        measure = unit(found[2])
        value = Fraction(found[1].replace(",", "").rstrip("."))
        return None if measure is None else _quantity_of(value, measure, "." in found[1])
    if LONG_WORD.fullmatch(text) and text.casefold() not in NO_WORDS:
        return Words(text.casefold())
    return None


def _quantity_of(number: Node, measure: Unit, rounded: bool) -> Quantity:
    return Quantity(number, measure if measure.dimension else None, rounded)


def quantity(text: str) -> Quantity | None:
    """The number that a text in normal form is, "x = 65" too; None where it is none."""
    for value in read(text):
        if isinstance(value, Quantity) and not variables(value.number):
            return value
        if isinstance(value, Relation) and value.signs[-1] in ("=", "\\approx"):
            return quantity(value.members[-1])
    return None


def _values(text: str) -> Iterator[Value]:
    if _yes_or_no(text):
        return
    readers: tuple[Callable[[str], Iterator[Value]], ...] = (
        _options,
        _times,
        _ranges,
        _matrices,
        _brackets,
        _several,
        _relations,
        _quantities,
    )
    for reader in readers:
        found = list(reader(text))
        yield from found
        if found and reader in (_ranges, _matrices, _several, _relations):
            return
        if any(isinstance(one, Time | Several | Region) for one in found):
            return


def _bare(text: str) -> str:
    """A text without words before its value: "The area is", "Answer:", "about", "No."."""
    text = CHOSEN.sub("", CONNECTED.sub("", text, count=1), count=1) or text
    for pattern in (INTRODUCTION, NAMED, ABOUT):
        found = pattern.match(text)
        if found is None:
            continue
        rest = text[found.end() :].strip()
        value = rest[:1].isdigit() or rest[:1] in "-$\\(." or bool(ONE_OPTION.fullmatch(rest))
        if rest and (value or ANSWERS.search(found[0])):
            text = rest
    return text


def _options(text: str) -> Iterator[Value]:
    if found := ONE_OPTION.fullmatch(text):
        yield Options(frozenset(found[1].upper()), "")
    elif SOME_OPTIONS.fullmatch(text):
        named = re.sub(r"options?|choices?|and", "", text, flags=re.I)
        letters = re.findall("[A-J]", named)
        if len(set(letters)) > 1:
            yield Options(frozenset(letters), "")
    elif RUN_OF_OPTIONS.fullmatch(text) and len(set(text)) == len(text):
        yield Options(frozenset(text), "")
    elif found := OPTION_AND_CONTENT.fullmatch(text):
        letter, content = (found[1] or found[2] or found[3]).upper(), found[4].strip()
        if content and not OPTION_MARK.search(content):
            yield Options(frozenset(letter), content)


def _times(text: str) -> Iterator[Value]:
    if found := TIME.fullmatch(text):
        hours = int(found[1]) % 12 + (12 if found[4].lower() == "p" else 0)
        if int(found[1]) <= 12:
            yield Time(60 * hours + int(found[2] or 0), True)
        return
    clock = CLOCK.fullmatch(text)
    time = None
    if clock and int(clock[1]) < 24:
        hours = int(clock[1])
        time = Time(60 * hours + int(clock[2]), hours > 12 or hours == 0)
    parts = text.split(":") if ":" in text else TO.split(text)
    nodes = [expression(part.strip()) for part in parts]
    if len(parts) > 1 and all(node is not None for node in nodes):
        yield Ratio(tuple(node for node in nodes if node is not None), time)


def _ranges(text: str) -> Iterator[Value]:
    found = RANGE.fullmatch(text)
    if found and DECIMAL.fullmatch(found[1].rstrip("%")):
        high = _plain_quantity(found[2])
        if high is not None and isinstance(high.number, Fraction) and _is_written(found[2]):
            if TO.search(text) and high.unit is None:
                yield from _times(text)
            yield Range(found[1] + _unit_text(found[2]), found[2])


def _is_written(text: str) -> bool:
    """Whether a text is one number as it is written, with or without a unit, not a sum."""
    return re.match(r"[\d.,]+(?!.*[-+*^\\])", text) is not None


def _unit_text(text: str) -> str:
    found = re.match(r"[\d.,]+(.*)", text)
    return found[1] if found else ""


def _matrices(text: str) -> Iterator[Value]:
    found = MATRIX.fullmatch(text)
    if found and found[1] != "vmatrix":
        rows = [row for row in found[2].split("\\\\") if row.strip()]
        yield Matrix(tuple(tuple(one.strip() for one in row.split("&")) for row in rows))


def _brackets(text: str) -> Iterator[Value]:
    """Sets, points and intervals: what stands in one pair of brackets."""
    if text in ("\\emptyset", "\\{\\}", "{}", "\\{ \\}"):
        yield Several((), "{}")
        return
    if text in ("\\R", "all real numbers", "all reals"):
        yield Region("", (Piece(f"-{INFINITY}", INFINITY, False, False),))
        return
    if builder := BUILDER.fullmatch(text):
        yield from (
            value
            for value in read(builder[2].strip())
            if isinstance(value, Region | Relation | Several)
        )
        return
    point = POINT.match(text)
    inside = text[point.end() :] if point else text
    start = inside.removeprefix("\\")
    if not start or start[0] not in "([{" or _closing(start, 0) != len(start) - 1:
        return
    brackets = start[0] + start[-1]
    items = [item for item, _ in split(start[1:-1].removesuffix("\\"), IN_BRACKETS)]
    if len(items) < 2 and (brackets != "{}" or start is inside):
        return
    if brackets in ("()", "[]", "{}"):
        yield Several(tuple(items), brackets, point[0].strip(" =") if point else "")
    if len(items) == 2 and brackets != "{}" and point is None:
        yield Region("", (Piece(items[0], items[1], brackets[0] == "[", brackets[1] == "]"),))


def _several(text: str) -> Iterator[Value]:
    """Values without brackets around them: 1, 2 and 3; x = 1 or x = 2; two signs of ±."""
    if " and " in text and (compound := _compound(text)):
        yield compound
    if mixed := AND_A_HALF.fullmatch(A_HALF.sub(" and 1/2", _counted(text))):
        yield from _quantities(f"{mixed[1]} {mixed[2]}{mixed[3]}")
    parts = split(text)
    if len(parts) > 1:
        items = tuple(item for item, _ in parts)
        joined = {sign for _, sign in parts[1:]}
        if all(items):
            yield from _joined(items, joined)
            if _lists(items, joined):
                yield Several(_labelled(items), "")
        elif len([item for item in items if item]) == 1:  # a comma behind or before it
            yield from read(next(item for item in items if item))
    elif "\\pm" in text:
        plus = text.replace("\\pm", "+").replace("\\mp", "-")
        minus = text.replace("\\pm", "-").replace("\\mp", "+")
        yield Several((plus.lstrip("+ "), minus), "")


def _lists(items: tuple[str, ...], joined: set[str]) -> bool:
    """Whether items stand side by side, rather than in a union, a choice or a conjunction.

    "A or B" names neither option, and "x > 1 and x < 4" is not what "x > 1 or x < 4" lists.
    """
    if "\\cup" in joined:
        return False
    if "or" in joined and all(ONE_OPTION.fullmatch(item) for item in items):
        return False
    return not ("and" in joined and all(_region(item) is not None for item in items))


def _joined(items: tuple[str, ...], joined: set[str]) -> Iterator[Value]:
    """The region that several regions are together."""
    regions = [_region(item) for item in items]
    whole = [one for one in regions if one is not None]
    names = {one.variable for one in whole} - {""}
    if len(whole) < len(items) or len(names) > 1 or joined - {"or", "and", "\\cup", ","}:
        return
    name = names.pop() if names else ""
    pieces = tuple(piece for one in whole for piece in one.pieces)
    if joined <= {"or", "\\cup"}:
        yield Region(name, pieces)
    elif joined == {"and"} and len(pieces) == 2 and name:
        low = next((p for p in pieces if p.high == INFINITY), None)
        high = next((p for p in pieces if p.low == f"-{INFINITY}"), None)
        if low and high and low is not high:
            yield Region(name, (Piece(low.low, high.high, low.has_low, high.has_high),))


def _region(text: str) -> Region | None:
    return next((one for one in read(text) if isinstance(one, Region)), None)


def _labelled(items: tuple[str, ...]) -> tuple[str, ...]:
    """Items with what the first one states for all: m = 1, 2, 4."""
    label, sign, first = items[0].rpartition("=")
    if sign and not any(SIGNS.search(item) for item in items[1:]):
        return tuple(f"{label.strip()} = {item.strip()}" for item in (first, *items[1:]))
    return items


def _relations(text: str) -> Iterator[Value]:
    members, signs = _chain(text)
    if not signs:
        return
    if not any(members):  # a sign alone, the answer to "which sign stands between them?"
        yield Words(" ".join(signs))
        return
    yield from _inequality(members, signs)
    yield Relation(tuple(members), tuple(signs))


def _chain(text: str) -> tuple[list[str], list[str]]:
    """What stands between signs of relation outside of brackets, and the signs."""
    members, signs, start = [], [], 0
    for found in _outside(SIGNS, text):
        members.append(text[start : found.start()].strip())
        signs.append(SPELLED.get(found[0], found[0]))
        start = found.end()
    return [*members, text[start:].strip()], signs


def _inequality(members: list[str], signs: list[str]) -> Iterator[Value]:
    """The region that an inequality of one variable is: x > 2, 2 <= x < 5, x in (0, 3)."""
    if signs == ["\\in"] and VARIABLE.fullmatch(members[0]):
        for inside in read(members[1]):
            if isinstance(inside, Region):
                yield Region(members[0], inside.pieces)
            elif isinstance(inside, Several) and inside.brackets == "{}":
                yield inside
        return
    if set(signs) <= {">", "\\geq"}:
        members = members[::-1]
        signs = [{">": "<", "\\geq": "\\leq"}[sign] for sign in signs[::-1]]
    if not set(signs) <= {"<", "\\leq"}:
        return
    closed = [sign == "\\leq" for sign in signs]
    bare = [bool(VARIABLE.fullmatch(member)) for member in members]
    if len(members) == 3 and bare == [False, True, False]:
        yield Region(members[1], (Piece(members[0], members[2], *closed),))
    elif bare == [True, False]:
        yield Region(members[0], (Piece(f"-{INFINITY}", members[1], False, closed[0]),))
    elif bare == [False, True]:
        yield Region(members[1], (Piece(members[0], INFINITY, closed[0], False),))


def _quantities(text: str) -> Iterator[Value]:
    found = _plain_quantity(text)
    if found is not None:
        yield found
    whole = None if PHRASE.fullmatch(text) else expression(text)
    if whole is not None and (found is None or _is_glued(text)):
        yield Quantity(whole, None, _has_decimal(text))
    elif (
        found is None
        and BEYOND.search(text)
        and not re.search(r"(?<![\\A-Za-z])[A-Za-z]{4,}", text)
    ):
        yield Formula(text)


def _is_glued(text: str) -> bool:
    """Whether a number has letters right behind it: 3m is three metres, or three times m."""
    return re.search(r"[\d})][A-Za-z]{1,2}$|[\d})] [A-Za-z]$", text) is not None


def _plain_quantity(text: str) -> Quantity | None:
    """A number with its unit, or without one where it has no variables."""
    currency = CURRENCY.match(text)
    if currency:
        rest = _measured(currency[1] + text[currency.end() :])
        money = unit(currency[2])
        return None if rest is None or rest.unit else rest._replace(unit=money)
    return _measured(text) or _compound(text)


def _measured(text: str) -> Quantity | None:
    text = MICRO.sub("μ", _counted(text).replace("\\Omega", "Ω"))
    whole = expression(text)
    bare = whole is not None and not variables(whole) and not text.endswith(("°", "%"))
    if bare:
        return Quantity(whole, None, _has_decimal(text))  # type: ignore[arg-type]
    magnitude = MAGNITUDE.fullmatch(text)
    if magnitude:
        return _magnified(*magnitude.groups())
    for start in UNIT_STARTS.finditer(text):
        before, behind = text[: start.start()].strip(), text[start.start() :].strip()
        if behind[0] + behind[-1] in ("()", "[]"):
            behind = behind[1:-1].strip()
        found = _with_unit(before, behind) if before else None
        if found is not None:
            return found
    return None


def _with_unit(before: str, behind: str) -> Quantity | None:
    measure = unit(behind)
    node = expression(before) if measure else None
    if measure is None or node is None:
        return None
    if variables(node) and (len(behind) == 1 or before[-1].isalpha() or is_thing(measure)):
        return None
    if behind == "°" and (has(node, "function") or variables(node)):
        return None
    return _quantity_of(node, measure, _has_decimal(before))


def _magnified(before: str, name: str, behind: str) -> Quantity | None:
    """1.2 million, 3 billion dollars."""
    power = MAGNITUDES.get(name.lower()) or {"万": 4, "亿": 8}[name]
    number = _measured(before)
    if number is None or number.unit is not None:
        return None
    node: Node = ("multiply", number.number, Fraction(10**power))
    if isinstance(number.number, Fraction):
        node = number.number * 10**power
    measure = unit(behind.strip()) if behind.strip() else Unit((), Fraction(1))
    if measure is None:
        return None
    return _quantity_of(node, measure, number.rounded)


def _compound(text: str) -> Quantity | None:
    """5 ft 6 in, 2 h 30 min."""
    parts = COMPOUND.split(text)
    if not 2 <= len(parts) <= 3:
        return None
    found = [_measured(part.strip()) for part in parts]
    total, rounded, sizes, dimensions = Fraction(0), False, [], set()
    for one in found:
        if one is None or one.unit is None or not isinstance(one.number, Fraction):
            return None
        total += one.number * one.unit.size
        rounded |= one.rounded
        sizes.append(one.unit.size)
        dimensions.add(one.unit.dimension)
    if len(dimensions) > 1 or sizes != sorted(set(sizes), reverse=True):
        return None
    return Quantity(total, Unit(dimensions.pop(), Fraction(1)), rounded)


def _counted(text: str) -> str:
    """A text with the number that it begins with in digits: twenty-five apples."""
    if part := PART.match(text):
        up, down = (part[1] or "one").lower(), part[2].lower().rstrip("s")
        return f"{1 if up == 'a' else COUNTS[up]}/{PARTS[down]}{text[part.end() :]}"
    found = COUNT.match(text)
    if found is None:
        return text
    value, rest = COUNTS[found[0].lower()], text[found.end() :]
    second = re.match(r"[- ](one|two|three|four|five|six|seven|eight|nine)\b", rest, re.I)
    if value >= 20 and second:
        value, rest = value + COUNTS[second[1].lower()], rest[second.end() :]
    return f"{value}{rest}"


def _has_decimal(text: str) -> bool:
    return re.search(r"\d\.\d|(?<!\d)\.\d", text) is not None


def _yes_or_no(text: str) -> str | None:
    """What an answer begins with that says yes or no, unless it says the other too."""
    found = YES_OR_NO.match(text)
    said = set(JUDGEMENTS.findall(text.casefold()))
    return found[1] if found and len(said) == 1 else None


def _words(text: str) -> Iterator[Value]:
    short = _yes_or_no(text)
    said = " ".join(PUNCTUATION.sub("", (short or text).casefold()).split())
    if said and any(sign.isalpha() for sign in said):
        yield Words(said)


def split(text: str, separators: re.Pattern[str] = SEPARATORS) -> list[tuple[str, str]]:
    """Items that separators part outside of brackets, each with the separator before it."""
    found, start, sign = [], 0, ""
    for separator in _outside(separators, text):
        found.append((text[start : separator.start()].strip(), sign))
        start, sign = separator.end(), separator[0].strip(" ,、") or ","
        sign = {"或": "or", "和": "and", "且": "and"}.get(sign, sign)
    return [*found, (text[start:].strip(), sign)]


def _outside(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches of a pattern that stand in no brackets."""
    depth, place = 0, 0
    for found in pattern.finditer(text):
        between = text[place : found.start()]
        depth += sum(map(between.count, "([{")) - sum(map(between.count, ")]}"))
        place = found.start()
        if depth == 0:
            yield found


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes; -1 where it does not."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth == 0:
            return place
    return -1
