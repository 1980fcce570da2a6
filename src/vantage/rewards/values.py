r"""Parsing of answers: quantities, times, lists, regions, relations, options, words.

All rewards and benchmarks parse answers and references in this one way:

    response -> final answer     `text.boxed`, `text.tagged`, `text.final`: find the answer
             -> normal form      `notation.plain`: fold Unicode, remove LaTeX formatting
             -> values           `values.read`: parse each value that the text can mean
             -> verdict          `comparing.same`: find a value that both sides share

`references.reference` first extracts the answer from a reference that is a solution. Words for
signs are converted by `signs_in_words.symbolic`. Units are parsed by `units.unit`, dates and times
of day by `dates_and_times`, numbers and formulas by `expressions.expression`. Formulas that none
of them can parse, such as sums, integrals and limits, go to math-verify (`mathematics.same`),
which is slow.

An ambiguous text has several values ("3m" is three metres or three times m). Two texts are equal
if they share a value. A text that states two values ("5~6", "3 or 5", "3 | 5") parses as one list
or as nothing, so it never equals one of the two.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from vantage.rewards.chemistry import chemical
from vantage.rewards.dates_and_times import MONTHS, Date, Time, date, is_moment, time
from vantage.rewards.expressions import (
    FUNCTIONS,
    VARIABLES,
    Node,
    equal,
    expression,
    has,
    number,
    variables,
)
from vantage.rewards.notation import DIGITS, LONGEST
from vantage.rewards.phrases import NO_SOLUTION, ORDINALS, said_in, shortened, yes_or_no
from vantage.rewards.signs_in_words import COUNT, COUNTS, SMALL, quadrant, symbolic
from vantage.rewards.units import (
    AMBIGUOUS,
    DEGREE,
    PERCENT,
    Unit,
    is_thing,
    same_dimension,
    unit,
)


class Quantity(NamedTuple):
    """A number or formula with its unit.

    Attributes:
        number: The expression; a Fraction if it is a plain number.
        unit: The unit, or None if the text has none.
        rounded: Whether the number is written as a decimal.
    """

    number: Node
    unit: Unit | None
    rounded: bool


class Options(NamedTuple):
    """Letters of options, or circled numbers.

    Attributes:
        letters: In alphabetical order, unless they are a permutation: BCA, but AC for "C and A".
        content: The text after the letters.
    """

    letters: str
    content: str


class Ratio(NamedTuple):
    """A ratio; `time` is the time of day if the text can mean both, like "4:20"."""

    parts: tuple[Node, ...]
    time: Time | None


class Range(NamedTuple):
    """A range between two ends, each a text: 5-10."""

    low: str
    high: str


class Several(NamedTuple):
    """A list of values, as texts in normal form.

    Attributes:
        items: The values, in order.
        brackets: The brackets around them, such as "()", "[]" or "{}"; empty if there are none.
        name: The name of a point, as in A(3, 4).
    """

    items: tuple[str, ...]
    brackets: str
    name: str = ""


class Piece(NamedTuple):
    """An interval: its ends as texts, and whether each end belongs to it."""

    low: str
    high: str
    has_low: bool
    has_high: bool


class Region(NamedTuple):
    """A union of intervals; `variable` is empty if the text names none."""

    variable: str
    pieces: tuple[Piece, ...]


class Relation(NamedTuple):
    """A chain of texts joined by relation signs: x = 3, 1 < x + y < 3, AB ∥ CD."""

    members: tuple[str, ...]
    signs: tuple[str, ...]


class Matrix(NamedTuple):
    """A matrix as rows of texts."""

    rows: tuple[tuple[str, ...], ...]


class Words(NamedTuple):
    """An answer in words, without case and punctuation.

    `short` is the core of a sentence or phrase: "blue" for "The color is blue.".
    """

    text: str
    short: str = ""


class Formula(NamedTuple):
    """A formula that only math-verify can parse."""

    text: str


Value: TypeAlias = (
    Quantity
    | Options
    | Time
    | Date
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

ONE_OPTION = re.compile(
    r"(?:(?:option|choice|answer|figure|graph|diagram|picture|image|选项|图) ?)?"
    r"[(<]?([A-J])[)>]?(?: ?选?项)?[.:)]*",
    re.I,
)
RIGHT_OPTION = re.compile(
    r"((?:(?:option|choice|answer) )?\(?[A-J]\)?) is (?:the )?(?:correct|right)"
    r"(?: (?:option|choice|answer|one))?|((?:选项 ?)?\(?[A-J]\)?(?: ?选?项)?) ?(?:是)?正确的?",
    re.I,
)
LISTED = r"(?:, ?(?:and )?| ?[、和] ?| and | ?& ?|; ?| )"
SOME_OPTIONS = re.compile(
    r"(?:[Bb]oth |[Oo]ptions? |[Cc]hoices? |选项 ?)?(?:\\?\{ ?(?=.*\}))?"
    rf"(?:\(?[A-J]\)?(?:{LISTED}\(?[A-J]\)?)+|[a-j](?:{LISTED}[a-j])+|\([A-J]\)(?: ?\([A-J]\))+)"
    r"(?: ?\\?\})?"
)
RUN_OF_OPTIONS = re.compile(r"[A-J]{2,6}")
CIRCLED = re.compile("[①-⑳]")
SOME_CIRCLED = re.compile(rf"[①-⑳](?:{LISTED}?[①-⑳])*")
OPTION_AND_CONTENT = re.compile(
    r"(?:(?i:option|choice) )?(?:\(([A-Ja-j])\)|([A-J])[.):、](?![A-Z] ?=)|([a-j])[.)]) ?(.+)",
    re.DOTALL,
)
OPTION_MARK = re.compile(r"\([A-J]\)|(?<![A-Za-z])[A-J][.):](?= |$)|^(?:or|and|but|is|are)\b")

RANGE = re.compile(
    r"(?:from )?([+-]?[\d.,]+%?) ?(?:-|~|to|through) ?([\d.,]+.*)|"
    r"between ([+-]?[\d.,]+%?) and ([\d.,]+.*)"
)
SPAN = re.compile(r"(?:from )?(.+?)(?: ?- ?| to | through )(.+)")
TO = re.compile(r" to ")

CLAUSE = re.compile("[\u4e00-\u9fff]{5,}")  # a clause of a Chinese sentence
CONNECTED = re.compile(r"(?:so|thus|hence|therefore|then)\b,? (?=\S)", re.I)
CHOSEN = re.compile(
    r"(?:(?:因此|所以|综上(?:所述)?|故),?)?(?:本题|此题|故|应)?"
    r"(?:(?:正确)?答案(?:应?是|应?为|选)?|正确(?:的)?选项(?:是|为)|选择?(?!项)):? ?(?=\S)"
    r"|(?:the )?points? (?=[A-Z]?\()"
    r"|(?:in )?(?:the )?(?:year )?(?=[12]\d{3}$)",
    re.I,
)
INTRODUCTION = re.compile(
    r"(?:\\?[A-Za-z]+ ){0,6}?"
    r"(?:is|are|equals|measures|was|were)(?: equal to)?(?::| |: )(?!not\b|no\b)(?=.)",
    re.I,
)
STATED = re.compile(  # 周长为12, ∠A的度数是30°, but not 不是5 or 最多有5个
    r"(?!.*[不没非或多少])(?!.*(?:可能|至少|至多|超过))"
    r"(?:[\u4e00-\u9fffA-Za-z]|\\(?:angle|triangle) ?){1,16}(?:为|是|有) ?"
)
NAMED = re.compile(r"(?!(?:option|choice) [A-J]:)[A-Za-z][A-Za-z ]{2,30}: ?(?=.)", re.I)
ABOUT = re.compile(
    r"(?:\\approx|大?约为?|approximately|approx\.?|about|around|roughly|~|\\sim|no\.|№|#+) ?"
    r"(?=[\d\\$.-])",
    re.I,
)
ROUNDED = re.compile(
    r"(?<=.) \((?:rounded|approx|approximate|exact|simplified|nearest|to the nearest)[^()\d]*\)$",
    re.I,
)
ANSWERS = re.compile(r"\b(?:answer|result|solution|option|choice)\b", re.I)

ASIDE = re.compile(r"([^()]+) \(([^()]+)\)")
DECLARED = re.compile(r",? ?\((?=[kn] ?\\in)([^()]+)\)$")  # (k \in Z)
SIGNS = re.compile(
    r"\\(?:neq|leq|geq|approx|in|parallel|nparallel|perp|cong|sim|equiv|subseteq|subset|to|Rightarrow)"
    r"(?![A-Za-z])|<=|>=|!=|==|[=<>]"
)
SPELLED = {"<=": "\\leq", ">=": "\\geq", "!=": "\\neq", "==": "="}
COMMA = r"(?<!\d),|,(?!\d{3}(?!\d))"  # a comma that does not group digits
SEPARATORS = re.compile(rf",? and |,? or |[或和且、]|{COMMA}|[;\n]| & |\\cup(?![A-Za-z])")
IN_BRACKETS = re.compile(r",? and |,? or |[或和、,;\n]")
ALL_BUT = re.compile(
    r"(?:\\R ?(?:\\setminus|\\backslash|-) ?\\?\{ ?"
    r"|all real numbers except (?:for )?(?:[a-z] ?= ?)?)([^{},]+?)(?: ?\\?\})?"
)
BUILDER = re.compile(r"\\?\{ ?([A-Za-z])(?: ?\\in ?[^|:]*)? ?[|:] ?(.+?) ?\\?\}", re.DOTALL)
REVERSED = re.compile(r"([\[\](]) ?([^\[\],;]+)[,;] ?([^\[\],;]+?) ?([\[\])])")  # ]-1, 3]
POINT = re.compile(r"[A-Z]'?(?:_\{?\d\}?)? ?(?==? ?\()=? ?")
VARIABLE = re.compile(
    r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|omega))(?:_\{?\w+\}?)?"
)
MATRIX = re.compile(
    r"\\begin ?\{([bpBv]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end ?\{\1\}", re.DOTALL
)
ROWS_IN_BRACKETS = re.compile(r"\[ ?\[[^\[\]]+\](?: ?, ?\[[^\[\]]+\])+ ?\]")  # [[1, 2], [3, 4]]
SYSTEM = re.compile(
    r"\\begin ?\{cases\}(.*)\\end ?\{cases\}"
    r"|\\\{ ?\\begin ?\{(array|aligned|matrix)\}(?: ?\{[lcr|]*\})?(.*)\\end ?\{\2\} ?\.?",
    re.DOTALL,
)
BEYOND = re.compile(
    r"\\(?:int|iint|oint|sum|prod|lim|cap|setminus|begin|det|max|min|gcd|partial|lfloor|"
    r"lceil|pmod|bmod|mod|hat|sup|inf|log|sinh|cosh|ln)(?![A-Za-z])"
)

CURRENCY = re.compile(
    r"([+-]?) ?(US\$|[$€£¥₹]|(?:USD|GBP|EUR|CNY|RMB|JPY|INR|Rs\.?)(?= ?\d)) ?(?=[\d.\\-])"
)
RATE = re.compile(r"(-?[\d.,]+) ?(?:per |/ ?|an? (?=hour|day|week|month|year))([a-z][a-z ]*)")
MAGNITUDES = {
    **{"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9},
    **{"trillion": 10**12, "bn": 10**9, "mn": 10**6, "万": 10**4, "亿": 10**8, "万亿": 10**12},
}
MAGNITUDE = re.compile(
    r"(.*[^\sa-z]) ?(?<![a-z])(dozen|hundred|thousand|million|billion|trillion|bn|mn)s?\b(.*)"
    r"|(.*\d) ?(万亿|万|亿)(.*)",
    re.I | re.DOTALL,
)
SHORT_MAGNITUDE = re.compile(r"([\d.,]+)([KMB])")
SHORT_MAGNITUDES = {"K": "thousand", "M": "million", "B": "billion"}
UNITS_IN_A_FRACTION = re.compile(r"(.*[\d)}]) ?\\frac ?\{([^{}]+)\} ?\{([^{}]+(?:\{\d\})?)\}")
DEGREES_AND_MINUTES = re.compile(r"(\d+)° ?(\d+)'(?: ?(\d+)(?:\"|''))?")
FEET_AND_INCHES = re.compile(r"(\d+) ?' ?(\d+(?:\.\d+)?) ?(?:\"|'')")
SEGMENT = re.compile(r"(?:\\overline ?\{? ?|segment )([A-Z])([A-Z]) ?\}?")
DECADE = re.compile(r"(?:in )?(?:the )?((?:1[5-9]|20)\d0s)")  # the s is not a second
TRIANGLE = re.compile(r"\\triangle ?([A-Z]{3})")
UNIT_STARTS = re.compile(r"(?<![A-Za-z\\_])[A-Za-z°%$€£¥¢ΩμÅ‰\u4e00-\u9fff(\[]|(?<=[a-z\d])\\Omega")
MICRO = re.compile(r"\\mu ?(?=[A-Za-z])")
COMPOUND = re.compile(
    r"(?<=[A-Za-z]),? (?:and )?(?=\d)|(?<=[A-Za-z]\.) (?=\d)|(?<=[小时天分钟米克元]),? ?(?=\d)"
)
A_HALF = re.compile(r" and (?:a|one)[ -]half\b", re.I)
AND_A_HALF = re.compile(r"(-?\d+) and (\d+ ?/ ?\d+|\\frac ?\{\d+\} ?\{\d+\}|\\frac ?\d ?\d)(.*)")
PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "eighth": 8}
PART = re.compile(
    rf"(?:(a|{'|'.join(SMALL[1:10])})[ -]({'|'.join(PARTS)})s?|(half|quarter))\b", re.I
)
PHRASE = re.compile(r"(?=.*[A-Za-z]{2})[A-Za-z]+(?:[ -][A-Za-z]+)+")  # Mr Li, x-ray
FRACTION = re.compile(r"(-)?(?:\\frac ?\{ ?(\d+) ?\} ?\{ ?(\d+) ?\}|(\d+) ?/ ?(\d+))")
MEASURED = re.compile(
    r"(-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?) (?!to\b|and\b|or\b|x\b|[AaPp][Mm]\b)([A-Za-z]{2,})"
)
LONG_WORD = re.compile(r"[A-Za-z]{5,}")
MOMENTS = {*MONTHS, "noon", "midnight"}
NO_WORDS = {*COUNTS, *VARIABLES, *FUNCTIONS, *MAGNITUDES, *ORDINALS, *MOMENTS, "false", "quarter"}
# Letters alone, which can be variables or words.
SPOKEN = re.compile(r"\\?[A-Za-z]+(?:[ -][A-Za-z]+)*|\d+(?:st|nd|rd|th)")
DIRECTION = re.compile(
    r"(.*\d.*?) (?:to(?:ward)?s? the |due )?"
    r"((?:north|south)?-?(?:east|west)|north|south|up|down|upwards?|downwards?|left|right|"
    r"clockwise|counterclockwise)",
    re.I,
)


@functools.lru_cache(maxsize=100_000)
def read(text: str) -> tuple[Value, ...]:
    """Parse a text in normal form into all values that it can mean; empty if it has none."""
    number = DECIMAL.fullmatch(text)
    if number:
        value = Fraction(number[2].replace(",", "").rstrip("."))
        return (Quantity(-value if number[1] == "-" else value, None, "." in number[2]),)
    if not text or len(text) > LONGEST:
        return ()
    quick = _quickly(text)
    if quick is not None:
        return (quick,)
    text = symbolic(text)
    text = _bare(text)
    found = list(_values(text))
    if (formula := chemical(text)) is not None:
        found.append(Words(formula))
    # Letters can be variables or a word, and "12 main street" is not 12 things: keep both values.
    if not found or SPOKEN.fullmatch(text) or any(map(_counts_things, found)):
        found += _words(text)
    return tuple(dict.fromkeys(found))


def _quickly(text: str) -> Value | None:
    """Parse the most common answers fast: a fraction, a number with a unit, a word; else None."""
    if found := FRACTION.fullmatch(text):
        up, down = int(found[2] or found[4]), int(found[3] or found[5])
        return Quantity(Fraction(-up if found[1] else up, down), None, False) if down else None
    if found := MEASURED.fullmatch(text):
        measure = unit(found[2])
        value = Fraction(found[1].replace(",", "").rstrip("."))
        if measure is None or found[2] in AMBIGUOUS or found[2].lower() in MOMENTS:
            return None
        return _quantity_of(value, measure, "." in found[1])
    if LONG_WORD.fullmatch(text) and text.casefold() not in NO_WORDS:
        return Words(text.casefold())  # one word has no shorter core
    return None


def _counts_things(one: Value) -> bool:
    """Return whether a value may also be a name with a number in it: 12 main street."""
    return isinstance(one, Quantity) and one.unit is not None and is_thing(one.unit)


def _quantity_of(number: Node, measure: Unit, rounded: bool) -> Quantity:
    return Quantity(number, measure if measure.dimension else None, rounded)


def scales(one: Quantity, other: Quantity) -> tuple[Fraction, ...]:
    """Return the factors to try on the number of `one` before it is compared with `other`.

    The factors are empty if the units do not match. A unit on one side alone is ignored, except
    that a percentage may be written without its sign: 50% equals 50 and 0.5. A number below 1
    without a sign is always such a share, so 0.5 does not equal 0.5%.
    """
    if one.unit and other.unit:
        same = same_dimension(one.unit, other.unit)
        return (one.unit.size / other.unit.size,) if same else ()
    stated = one.unit or other.unit
    if stated is None or stated.dimension != PERCENT.dimension:
        return (Fraction(1),)
    share, bare = (one, other) if one.unit else (other, one)
    factor = stated.size / 100
    as_share = factor if share is one else 1 / factor
    value = number(bare.number)
    is_below = isinstance(value, Fraction) and 0 < abs(value) < 1
    return (as_share,) if is_below or stated != PERCENT else (Fraction(1), as_share)


def quantity(text: str) -> Quantity | None:
    """Parse a text in normal form as a number, also from "x = 65"; None for other texts."""
    for value in read(text):
        if isinstance(value, Quantity) and not variables(value.number):
            return value
        if isinstance(value, Relation) and value.signs[-1] in ("=", "\\approx"):
            return quantity(value.members[-1])
    return None


def _values(text: str) -> Iterator[Value]:
    if yes_or_no(text):
        return
    readers: tuple[Callable[[str], Iterator[Value]], ...] = (
        _options,
        _moments,
        _ranges,
        _named,
        _matrices,
        _brackets,
        _several,
        _relations,
        _quantities,
    )
    # The order matters: a structured reading stops the search, because later readers would
    # misread its parts, such as 5-10 as a difference.
    for reader in readers:
        found = list(reader(text))
        yield from found
        if found and reader in (_ranges, _named, _matrices, _several, _relations):
            return
        if any(isinstance(one, Time | Date | Several | Region) for one in found):
            return


def _bare(text: str) -> str:
    """Remove words before the value: "The area is", "Answer:", "about", "No."."""
    text = DECLARED.sub(r", \1", ROUNDED.sub("", text))
    text = CHOSEN.sub("", CONNECTED.sub("", text, count=1), count=1) or text
    if right := RIGHT_OPTION.fullmatch(text):
        return right[1] or right[2]
    for pattern in (INTRODUCTION, STATED, NAMED, ABOUT):
        found = pattern.match(text)
        if found is None:
            continue
        rest = text[found.end() :].strip()
        value = rest[:1].isdecimal() or rest[:1] in "-$\\(." or bool(ONE_OPTION.fullmatch(rest))
        value = value or bool(COUNT.match(rest))
        if rest and (value or ANSWERS.search(found[0])):
            text = rest
    return text


def _options(text: str) -> Iterator[Value]:
    if found := ONE_OPTION.fullmatch(text):
        yield Options(found[1].upper(), "")
    elif SOME_OPTIONS.fullmatch(text):
        named = re.sub(r"options?|choices?|and|both", "", text, flags=re.I)
        if len(set(letters := re.findall("[A-J]", named.upper()))) > 1:
            yield Options(_arranged(letters, LETTERS), "")
    elif RUN_OF_OPTIONS.fullmatch(text) and len(set(text)) == len(text):
        yield Options(_arranged(list(text), LETTERS), "")
    elif SOME_CIRCLED.fullmatch(text):
        yield from _circled(CIRCLED.findall(text))
    else:
        yield from _options_with_contents(re.split(r"[;\n] ?(?=\(?[A-J][.):、])", text))


def _arranged(letters: list[str], alphabet: str) -> str:
    """Sort letters, unless three or more are a permutation of the start of the alphabet."""
    ordered = "".join(sorted(set(letters)))
    is_all = len(letters) > 2 and alphabet.startswith(ordered) and len(letters) == len(ordered)
    return "".join(letters) if is_all else ordered


def _circled(signs: list[str]) -> Iterator[Value]:
    """Parse ①③ both as options and as the numbers 1, 3."""
    named = _arranged(signs, "".join(map(chr, range(ord("①"), ord("⑳") + 1))))
    yield Options(named, "")
    numbers = tuple(str(ord(sign) - ord("①") + 1) for sign in signs)
    if len(numbers) == 1:
        yield Quantity(Fraction(numbers[0]), None, False)
    elif named == "".join(sorted(named)):
        yield Several(numbers, "")


def _options_with_contents(parts: list[str]) -> Iterator[Value]:
    """Parse options with contents: (B) 3, or B. 3; D. 4."""
    found = [OPTION_AND_CONTENT.fullmatch(part) for part in parts]
    named = sorted(((one[1] or one[2] or one[3]).upper(), one[4].strip()) for one in found if one)
    letters, contents = "".join(one for one, _ in named), [content for _, content in named]
    if len(letters) < len(parts) or len(set(letters)) < len(letters):
        return
    if all(content and not OPTION_MARK.search(content) for content in contents):
        yield Options(letters, contents[0] if len(contents) == 1 else f"({'; '.join(contents)})")


def _moments(text: str) -> Iterator[Value]:
    """Parse dates, times of day and ratios; 4:20 is a time and a ratio."""
    if (day := date(text)) is not None:
        yield day
        return
    clock = time(text)
    parts = text.split(":") if ":" in text else TO.split(text)
    nodes = [expression(part.strip()) for part in parts]
    if len(parts) > 1 and all(node is not None for node in nodes):
        yield Ratio(tuple(node for node in nodes if node is not None), clock)
    elif clock is not None:
        yield clock


def _ranges(text: str) -> Iterator[Value]:
    if (span := SPAN.fullmatch(text)) and is_moment(span[1]) and is_moment(span[2]):
        yield Range(span[1], span[2])
    found = RANGE.fullmatch(text)
    if found is None:
        return
    low, end = found[1] or found[3], found[2] or found[4]
    if DECIMAL.fullmatch(low.rstrip("%")):
        high = _plain_quantity(end)
        is_literal = re.match(r"[\d.,]+(?!.*[-+*^\\])", end)  # not a sum
        if high is not None and isinstance(high.number, Fraction) and is_literal:
            if TO.search(text) and high.unit is None:
                yield from _moments(text)
            measure = "" if low.endswith("%") else re.sub(r"^[\d.,]+", "", end)
            yield Range(low + measure, end)


def _named(text: str) -> Iterator[Value]:
    """Parse names with several forms: the segment AB is BA, and the triangle ABC is BCA."""
    if decade := DECADE.fullmatch(text):
        yield Words(decade[1])
    elif found := SEGMENT.fullmatch(text):
        for name in (found[1] + found[2], found[2] + found[1]):
            yield Quantity(("variable", name), None, False)
    elif found := TRIANGLE.fullmatch(text):
        yield Words(f"triangle {''.join(sorted(found[1]))}")
    elif (number := quadrant(text)) is not None:
        yield Words(f"quadrant {number}", ("i", "ii", "iii", "iv")[number - 1])


def _matrices(text: str) -> Iterator[Value]:
    if system := SYSTEM.fullmatch(text):
        rows = [row.strip().strip(",") for row in (system[1] or system[3]).split("\\\\")]
        if not any("&" in row.replace("&=", "") for row in rows):
            yield from read("; ".join(row.replace("&", "") for row in rows if row))
        return
    if ROWS_IN_BRACKETS.fullmatch(text):
        cells = [re.split(", ?", row.strip("], ")) for row in text[1:-1].split("[")[1:]]
        yield Matrix(tuple(map(tuple, cells)))
        return
    if text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1].strip()
    found = MATRIX.fullmatch(text)
    if found and found[1] != "vmatrix":
        rows = [row for row in found[2].split("\\\\") if row.strip()]
        yield Matrix(tuple(tuple(one.strip() for one in row.split("&")) for row in rows))


def _brackets(text: str) -> Iterator[Value]:
    """Parse sets, points and intervals: a text in one pair of brackets."""
    if text in ("\\emptyset", "\\{\\}", "{}", "\\{ \\}"):
        yield Several((), "{}")
        return
    if text in ("\\R", "all real numbers", "all reals"):
        yield Region("", (Piece(f"-{INFINITY}", INFINITY, False, False),))
        return
    if (found := ALL_BUT.fullmatch(text)) and expression(found[1]) is not None:
        below = Piece(f"-{INFINITY}", found[1], False, False)
        yield Region("", (below, Piece(found[1], INFINITY, False, False)))
        return
    if builder := BUILDER.fullmatch(text):
        yield from (
            value
            for value in read(builder[2].strip())
            if isinstance(value, Region | Relation | Several)
        )
        return
    if (found := REVERSED.fullmatch(text)) and (found[1] == "]" or found[4] == "["):
        yield Region("", (Piece(found[2], found[3], found[1] == "[", found[4] == "]"),))
        return
    point = POINT.match(text)
    inside = text[point.end() :] if point else text
    start = inside.removeprefix("\\")
    if not _is_enclosed(start):
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
    """Parse lists without brackets: 1, 2 and 3; x = 1 or x = 2; the two values of ±."""
    if (aside := ASIDE.fullmatch(text)) and (stated := _twice(aside[1], aside[2])):
        yield stated
        return
    if " and " in text and (compound := _compound(text)):
        yield compound
    if directed := DIRECTION.fullmatch(text):
        moved = _plain_quantity(directed[1].rstrip(","))
        if moved is not None and moved.unit is not None:
            yield Several((directed[1].rstrip(","), directed[2]), "")
            return
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
        elif len([item for item in items if item]) == 1:  # a comma before or after the only item
            yield from read(next(item for item in items if item))
    elif "\\pm" in text:
        plus = text.replace("\\pm", "+").replace("\\mp", "-")
        minus = text.replace("\\pm", "-").replace("\\mp", "+")
        yield Several((plus.lstrip("+ "), minus), "")


def _twice(one: str, other: str) -> Quantity | None:
    """Parse a value that is repeated in parentheses: 1/2 (0.5), 5 cm (50 mm)."""
    first, second = _plain_quantity(one), _plain_quantity(other)
    if first is None or second is None:
        return None
    rounded = first.rounded or second.rounded
    same = (
        equal(first.number, second.number, rounded=rounded, scale=scale)
        for scale in scales(first, second)
    )
    return first if any(same) else None


def _lists(items: tuple[str, ...], joined: set[str]) -> bool:
    """Return whether items form a list, rather than a union, a choice or a conjunction.

    Clauses are not a list, because their order matters: 两直线平行,同位角相等 is the converse of
    同位角相等,两直线平行. "A or B" names neither option, "red or blue" no colour. "x > 1 and
    x < 4" is a conjunction. "1 or 2" is a list of solutions.
    """
    if "\\cup" in joined or ("," in joined and all(map(CLAUSE.fullmatch, items))):
        return False
    if "or" in joined and not all(map(_is_solution, items)):
        return False
    return not ("and" in joined and all((_region(item) or NOWHERE).variable for item in items))


def _is_solution(item: str) -> bool:
    """Return whether an item is mathematics rather than an option or a word."""
    if ONE_OPTION.fullmatch(item) or CIRCLED.search(item):
        return False
    values = read(item)
    if any(isinstance(value, Options) and value.content for value in values):
        return False
    return any(not isinstance(value, Words | Options | Date | Time) for value in values)


def _joined(items: tuple[str, ...], joined: set[str]) -> Iterator[Value]:
    """Combine several regions into their union or intersection."""
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


NOWHERE = Region("", ())


def _region(text: str) -> Region | None:
    return next((one for one in read(text) if isinstance(one, Region)), None)


def _labelled(items: tuple[str, ...]) -> tuple[str, ...]:
    """Repeat the left side of the first item for all items: m = 1, 2, 4."""
    label, sign, first = items[0].rpartition("=")
    if sign and not any(SIGNS.search(item) for item in items[1:]):
        return tuple(f"{label.strip()} = {item.strip()}" for item in (first, *items[1:]))
    return items


def _relations(text: str) -> Iterator[Value]:
    members, signs = _chain(text)
    if not signs:
        return
    if not any(members):  # a sign alone, the answer to "which sign belongs between them?"
        yield Words(" ".join(signs))
        return
    yield from _inequality(members, signs)
    yield Relation(tuple(members), tuple(signs))
    if signs == ["="] and all(map(chemical, members)):
        yield Relation(tuple(members), ("\\to",))  # 2H2 + O2 = 2H2O


def _chain(text: str) -> tuple[list[str], list[str]]:
    """Split a text at relation signs outside of brackets; return the members and the signs."""
    members, signs, start = [], [], 0
    for found in _outside(SIGNS, text):
        members.append(text[start : found.start()].strip())
        signs.append(SPELLED.get(found[0], found[0]))
        start = found.end()
    return [*members, text[start:].strip()], signs


def _inequality(members: list[str], signs: list[str]) -> Iterator[Value]:
    """Parse an inequality of one variable as a region: x > 2, 2 <= x < 5, x in (0, 3)."""
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
    yield from _other_quantities(text)
    whole = None if PHRASE.fullmatch(text) else expression(text)
    if whole is not None and (found is None or _is_glued(text)):
        yield Quantity(whole, None, _has_decimal(text))
    elif (
        found is None
        and BEYOND.search(text)
        and not re.search(r"(?<![\\A-Za-z])[A-Za-z]{4,}", text)
    ):
        yield Formula(text)


def _other_quantities(text: str) -> Iterator[Value]:
    """Parse second meanings: 20 pounds as money, 5M as millions, \\phi as the empty set."""
    if text == "\\phi" or said_in(text) == NO_SOLUTION:
        yield Several((), "{}")
    if short := SHORT_MAGNITUDE.fullmatch(text):
        large = _measured(f"{short[1]} {SHORT_MAGNITUDES[short[2]]}")
        if large is not None:
            yield large
    number, _, name = text.rpartition(" ")
    if name in AMBIGUOUS and (money := _plain_quantity(AMBIGUOUS[name] + number)) is not None:
        yield money


def _is_glued(text: str) -> bool:
    """Return whether letters follow a number directly: 3m is three metres or three times m."""
    if UNITS_IN_A_FRACTION.fullmatch(text):
        return True
    return re.search(r"[\d})][A-Za-z]{1,2}$|[\d})] [A-Za-z]$", text) is not None


def _plain_quantity(text: str) -> Quantity | None:
    """Parse a number with a unit, or an expression without unit and variables; else None."""
    currency = CURRENCY.match(text)
    if currency:
        amount = currency[1] + text[currency.end() :]
        if (rate := RATE.fullmatch(amount)) and (
            paid := _measured(f"{rate[1]} {currency[2]}/{rate[2]}")
        ):
            return paid
        if short := SHORT_MAGNITUDE.fullmatch(amount):
            amount = f"{short[1]} {SHORT_MAGNITUDES[short[2]]}"
        rest = _measured(amount)
        money = unit(currency[2])
        return None if rest is None or rest.unit else rest._replace(unit=money)
    return _measured(text) or _compound(text) or _of_angle(text)


def _of_angle(text: str) -> Quantity | None:
    """Parse degrees, minutes and seconds: 30°15'."""
    found = DEGREES_AND_MINUTES.fullmatch(text)
    if found is None:
        return None
    degrees, minutes, seconds = (int(part or 0) for part in found.groups())
    return Quantity(degrees + Fraction(minutes, 60) + Fraction(seconds, 3600), DEGREE, False)


def _measured(text: str) -> Quantity | None:
    text = MICRO.sub("μ", _counted(text).replace("\\Omega", "Ω"))
    whole = expression(text)
    bare = whole is not None and not variables(whole) and not text.endswith(("°", "%"))
    if bare:
        return Quantity(whole, None, _has_decimal(text))  # type: ignore[arg-type]
    magnitude = MAGNITUDE.fullmatch(text)
    if magnitude:
        return _magnified(*(part for part in magnitude.groups() if part is not None))
    if parts := UNITS_IN_A_FRACTION.fullmatch(text):
        return _with_unit(parts[1], f"{parts[2].strip()}/({parts[3].strip()})")
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
    """Parse a number with a magnitude: 1.2 million, 3 billion dollars."""
    times = MAGNITUDES[name.lower()]
    number = _measured(before)
    if number is None or number.unit is not None:
        return None
    node: Node = ("multiply", number.number, Fraction(times))
    if isinstance(number.number, Fraction):
        node = number.number * times
    measure = unit(behind.strip()) if behind.strip() else Unit((), Fraction(1))
    if measure is None:
        return None
    return _quantity_of(node, measure, number.rounded)


def _compound(text: str) -> Quantity | None:
    """Parse a sum of units of one dimension, the largest first: 5 ft 6 in, 2 h 30 min, 5'6"."""
    feet = FEET_AND_INCHES.fullmatch(text)
    parts = [f"{feet[1]} ft", f"{feet[2]} in"] if feet else COMPOUND.split(text)
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
    """Convert the number in words at the start of a text to digits: twenty-five apples."""
    if text[:1] == "-":
        return f"-{_counted(text[1:].lstrip())}"
    if part := PART.match(text):
        up, down = (part[1] or "one").lower(), (part[2] or part[3]).lower()
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


def _words(text: str) -> Iterator[Value]:
    said = said_in(yes_or_no(text) or text)
    if any(sign.isalpha() for sign in said):
        yield Words(said, shortened(text, said))


def split(text: str, separators: re.Pattern[str] = SEPARATORS) -> list[tuple[str, str]]:
    """Split a text at separators outside of brackets.

    Returns:
        Pairs of an item and the separator before it, which is empty for the first item.
    """
    found, start, sign = [], 0, ""
    for separator in _outside(separators, text):
        found.append((text[start : separator.start()].strip(), sign))
        start, sign = separator.end(), separator[0].strip(" ,、") or ","
        sign = {"或": "or", "和": "and", "且": "and", "&": "and"}.get(sign, sign)
    return [*found, (text[start:].strip(), sign)]


def _outside(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern outside of brackets."""
    depth, place = 0, 0
    for found in pattern.finditer(text):
        between = text[place : found.start()]
        depth += sum(map(between.count, "([{")) - sum(map(between.count, ")]}"))
        place = found.start()
        if depth == 0:
            yield found


def _is_enclosed(text: str) -> bool:
    """Return whether a text is in one pair of brackets."""
    depths = [*accumulate((sign in "([{") - (sign in ")]}") for sign in text)]
    return text[:1] in ("(", "[", "{") and 0 not in depths[:-1] and depths[-1] == 0
