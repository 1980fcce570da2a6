"""Equality of two answers, decided on their parsed values."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from vantage.rewards import expressions, mathematics, units
from vantage.rewards.expressions import expression, has, variables
from vantage.rewards.notation import plain
from vantage.rewards.units import DEGREE, RADIAN
from vantage.rewards.values import (
    INFINITY,
    ONE_OPTION,
    Date,
    Formula,
    Matrix,
    Options,
    Piece,
    Quantity,
    Range,
    Ratio,
    Region,
    Relation,
    Several,
    Time,
    Value,
    Words,
    read,
    scales,
)

SECONDS = 0.8  # time limit of one verdict; after it, the answer counts as wrong
MOST_UNORDERED = 24  # longest list compared in any order, in quadratic time
SYMMETRIC = frozenset(
    ("=", "\\neq", "\\approx", "\\parallel", "\\perp", "\\cong", "\\sim", "\\equiv")
)
TURNED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
NUMERIC = frozenset(("=", "\\neq", "\\approx", *TURNED))
CORRESPONDING = frozenset(("\\cong", "\\sim"))  # relate figures vertex by vertex
EQUAL = frozenset(("=", "\\approx"))
SEGMENT = re.compile(r"[A-Z]{2}")
PART = re.compile(r"[A-Z]{2}|[A-D]")
TIGHT = re.compile(r" ?([^\w ]) ?")
DENIED = re.compile(r"\b(?:not|or)\b|或")
DEPENDENT = re.compile(r"[fgh]\([a-z]\)")
SPACES = re.compile(r"\s+")


def same(given: str, truth: str) -> bool:
    """Return whether an answer equals a reference in any notation; False after `SECONDS`."""
    units.load()  # loading pint must not count against the time limit
    try:
        return _Comparison().texts(plain(given), plain(truth))
    except RecursionError:  # brackets nested too deeply
        return False


class _Comparison:
    """The comparison of one answer with one reference, which must end within `SECONDS`.

    Values of equal or compatible types are compared by `RULES`, any other pair by `AGAINST_ANY`.
    """

    def __init__(self) -> None:
        self.until = time.monotonic() + SECONDS

    def texts(self, one: str, other: str) -> bool:
        """Return whether two texts in normal form have a value in common."""
        if one == other and one:
            return True
        if time.monotonic() > self.until:
            return False
        values, others = read(one), read(other)
        if one and not values and not others:
            return TIGHT.sub(r"\1", one) == TIGHT.sub(r"\1", other)  # 65+ and 65 +
        if any(self.values(left, right) for left in values for right in others):
            return True
        left = max(0.0, self.until - time.monotonic())
        return _is_formula(values, others) and mathematics.same(one, other, left)

    def values(self, one: Value, other: Value) -> bool:
        """Return whether two values are equal."""
        kinds = type(one), type(other)  # rules are symmetric, so each pair has one entry
        if kinds in self.RULES:
            return self.RULES[kinds](self, one, other)
        if kinds[::-1] in self.RULES:
            return self.RULES[kinds[::-1]](self, other, one)
        return any(
            self.AGAINST_ANY[type(left)](self, left, right)
            for left, right in ((one, other), (other, one))
            if type(left) in self.AGAINST_ANY
        )

    def _quantities(self, one: Quantity, other: Quantity) -> bool:
        rounded = one.rounded or other.rounded
        return (
            any(
                expressions.equal(one.number, other.number, rounded=rounded, scale=scale)
                for scale in scales(one, other)
            )
            or _same_angle(one, other, rounded)
            or _same_angle(other, one, rounded)
        )

    def _options(self, one: Options, other: Options) -> bool:
        contents = one.content, other.content
        return one.letters == other.letters and (
            not all(contents) or self.texts(*map(plain, contents))
        )

    def _option_and_other(self, one: Options, other: Value) -> bool:
        """Compare the content of an option with another value; "D. C" names option D alone."""
        if len(one.letters) > 1 or not one.content or isinstance(other, Options):
            return False
        if ONE_OPTION.fullmatch(one.content):
            return False
        return any(self.values(value, other) for value in read(plain(one.content)))

    def _times(self, one: Time, other: Time) -> bool:
        if one.stated and other.stated:
            return one.minutes == other.minutes
        return one.minutes % 720 == other.minutes % 720

    def _ratios(self, one: Ratio, other: Ratio) -> bool:
        if one.time and other.time:
            return one.time.minutes == other.time.minutes
        if len(one.parts) != len(other.parts):
            return False
        # The cross products below would call 0:3 and 0:5 equal.
        if Fraction(0) in (*one.parts, *other.parts):
            return all(map(expressions.equal, one.parts, other.parts))
        return all(
            expressions.equal(("multiply", left, other.parts[0]), ("multiply", right, one.parts[0]))
            for left, right in zip(one.parts, other.parts, strict=True)
        )

    def _ratio_and_time(self, one: Ratio, other: Time) -> bool:
        return one.time is not None and self._times(one.time, other)

    def _ratio_and_quantity(self, one: Ratio, other: Quantity) -> bool:
        number = other.number
        whole = isinstance(number, Fraction) and number.denominator == 1
        if len(one.parts) != 2 or other.unit is not None or whole:
            return False  # 5:1 is not the whole number 5
        return expressions.equal(("divide", *one.parts), number, rounded=other.rounded)

    def _ranges(self, one: Range, other: Range) -> bool:
        return self.texts(one.low, other.low) and self.texts(one.high, other.high)

    def _several(self, one: Several, other: Several) -> bool:
        brackets = {one.brackets, other.brackets} - {""}
        if len(brackets) > 1 or (one.name and other.name and one.name != other.name):
            return False
        names = [_names(side.items) for side in (one, other)]
        if brackets and brackets != {"{}"}:
            if any(len(each) > 1 and len(set(each)) == 1 for each in names):
                return False  # x = 1 or x = 2 is not the point (1, 2)
            return self._in_order(one.items, other.items)
        if len({name for each in names for name in each}) == 1 and all(names):
            # x_1 = 2, x_2 = 3 lists the values of one unknown, like x = 2 or x = 3.
            numbered = ["_" in side.items[0] for side in (one, other)]
            if numbered[0] != numbered[1]:
                return self._unordered(_values_of(one.items), _values_of(other.items))
        if bool(names[0]) == bool(names[1]):
            return self._unordered(one.items, other.items)
        # One side has names, x = 1, y = 2, and the other has values alone, 1, 2.
        items = _values_of(one.items), _values_of(other.items)
        several = len(set(names[0] or names[1])) > 1  # x = 1, y = 2 differs from y = 1, x = 2
        return self._in_order(*items) if several else self._unordered(*items)

    def _one_of_several(self, one: Several, other: Value) -> bool:
        """Compare a list of equal values with a single value: a double root is listed as 2, 2."""
        if one.brackets not in ("", "{}") or not 0 < len(one.items) <= MOST_UNORDERED:
            return False
        return all(any(self.values(value, other) for value in read(item)) for item in one.items)

    def _in_order(self, one: Sequence[str], other: Sequence[str]) -> bool:
        return len(one) == len(other) and all(map(self.texts, one, other))

    def _unordered(self, one: Sequence[str], other: Sequence[str]) -> bool:
        """Compare lists in any order, as multisets if they have equal lengths, else as sets.

        2, 2 equals 2 and 2, 3, 2 equals 2, 3 as lists of roots, but 1, 1, 2 differs from 1, 2, 2.
        """
        if self._in_order(one, other):
            return True
        if max(len(one), len(other)) > MOST_UNORDERED:
            return False
        if len(one) == len(other):
            left = list(other)
            for a in one:
                place = next((n for n, b in enumerate(left) if self.texts(a, b)), None)
                if place is None:
                    return False
                del left[place]
            return True
        return all(any(self.texts(a, b) for b in other) for a in one) and all(
            any(self.texts(a, b) for a in one) for b in other
        )

    def _regions(self, one: Region, other: Region) -> bool:
        if one.variable and other.variable and one.variable != other.variable:
            return False
        if len(one.pieces) != len(other.pieces):
            return False
        left, right = (sorted(region.pieces, key=_start) for region in (one, other))
        return all(map(self._pieces, left, right))

    def _region_and_relation(self, one: Region, other: Relation) -> bool:
        """Compare all numbers but one, x < 2 or x > 2, with an inequation, x is not 2."""
        if other.signs != ("\\neq",) or one.variable not in ("", *other.members):
            return False
        low, high = f"-{INFINITY}", INFINITY
        number = other.members[_is_name(other.members[0])]
        but = Piece(low, number, False, False), Piece(number, high, False, False)
        return any(map(_is_name, other.members)) and self._regions(one, Region(one.variable, but))

    def _pieces(self, one: Piece, other: Piece) -> bool:
        if (one.has_low, one.has_high) != (other.has_low, other.has_high):
            return False
        ends = ((one.low, other.low), (one.high, other.high))
        return all(self.texts(*(end.lstrip("+ ") for end in pair)) for pair in ends)

    def _relations(self, one: Relation, other: Relation) -> bool:
        if set(one.signs) & CORRESPONDING:
            return one.signs == other.signs and _corresponding(one) == _corresponding(other)
        for turned in (one, _turned(one)):
            if turned and turned.signs == other.signs and self._sides(turned, other):
                return True
        return self._equations(one, other) or self._functions(one, other)

    def _functions(self, one: Relation, other: Relation) -> bool:
        """Compare y = ... with f(x) = ... by their right sides."""
        names = [side.members[0] for side in (one, other)]
        named = "y" in names and any(map(DEPENDENT.fullmatch, names))
        if not named or not one.signs == other.signs == ("=",):
            return False
        return self.texts(one.members[1], other.members[1])

    def _sides(self, one: Relation, other: Relation) -> bool:
        """Return whether all sides are equal; names are compared as strings."""
        unordered = one.signs[0] in ("\\parallel", "\\perp")
        return len(one.members) == len(other.members) and all(
            _name(left, unordered) == _name(right, unordered) or self.texts(left, right)
            for left, right in zip(one.members, other.members, strict=True)
        )

    def _equations(self, one: Relation, other: Relation) -> bool:
        """Return whether two equations or inequalities are equal up to a constant factor."""
        for turned in (one, _turned(one)):
            if turned is None or len(turned.signs) != 1 or turned.signs != other.signs:
                continue
            if turned.signs[0] not in NUMERIC:
                continue
            left, right = _difference(turned), _difference(other)
            if left is None or right is None:
                continue
            ratio = expressions.constant_ratio(left, right)
            if ratio is not None and (ratio > 0 or turned.signs[0] not in TURNED):
                return True
        return False

    def _relation_and_other(self, one: Relation, other: Value) -> bool:
        """Compare the value that an equation states with another value: x = 3 with 3."""
        if not set(one.signs) <= EQUAL:
            return False
        if isinstance(other, Options | Words) and all(map(_is_name, one.members)):
            return False  # a = b does not choose option B
        stated = _stated(one)
        return any(self.values(value, other) for member in stated for value in read(member))

    def _matrices(self, one: Matrix, other: Matrix) -> bool:
        return len(one.rows) == len(other.rows) and all(map(self._in_order, one.rows, other.rows))

    def _words(self, one: Words, other: Words) -> bool:
        return other.text in (one.text, one.short) or one.text == other.short

    RULES: ClassVar[dict[tuple[type, type], Any]] = {
        (Quantity, Quantity): _quantities,
        (Options, Options): _options,
        (Time, Time): _times,
        (Date, Date): lambda self, one, other: one == other,
        (Ratio, Ratio): _ratios,
        (Ratio, Time): _ratio_and_time,
        (Ratio, Quantity): _ratio_and_quantity,
        (Range, Range): _ranges,
        (Several, Several): _several,
        (Region, Region): _regions,
        (Region, Relation): _region_and_relation,
        (Relation, Relation): _relations,
        (Matrix, Matrix): _matrices,
        (Words, Words): _words,
    }
    AGAINST_ANY: ClassVar[dict[type, Any]] = {
        Options: _option_and_other,
        Several: _one_of_several,
        Relation: _relation_and_other,
    }


def _is_formula(values: Sequence[Value], others: Sequence[Value]) -> bool:
    """Return whether to ask math-verify: only it reads one side, and the other is a formula too."""
    kinds = {type(value) for value in (*values, *others)}
    return Formula in kinds and all(
        any(isinstance(value, Formula | Quantity | Region | Several) for value in side)
        for side in (values, others)
    )


def _same_angle(one: Quantity, other: Quantity, rounded: bool) -> bool:
    """Return whether an angle in degrees equals one in radians, marked by the unit or by pi."""
    if one.unit != DEGREE or not (other.unit == RADIAN or _has_pi(other)):
        return False
    return expressions.equal(("degrees", one.number), other.number, rounded=rounded)


def _has_pi(one: Quantity) -> bool:
    return one.unit is None and not variables(one.number) and has(one.number, "constant")


@functools.lru_cache(maxsize=10_000)
def _start(piece: Piece) -> float:
    """Return the lower end of an interval, as a sort key."""
    if piece.low.startswith(f"-{INFINITY}"):
        return float("-inf")
    node = expression(piece.low)
    value: Any = None if node is None else expressions.number(node)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _turned(one: Relation) -> Relation | None:
    """Swap the sides of a relation; None if a sign has no mirror image."""
    if all(sign in SYMMETRIC or sign in TURNED for sign in one.signs):
        signs = tuple(TURNED.get(sign, sign) for sign in one.signs[::-1])
        return Relation(one.members[::-1], signs)
    return None


def _corresponding(one: Relation) -> frozenset[tuple[str, ...]]:
    """Return the sets of matching vertices, independent of the order of figures and vertices."""
    figures = sorted(_name(member.removeprefix("\\triangle"), False) for member in one.members)
    if len({len(figure) for figure in figures}) > 1:
        return frozenset(((*one.members,),))
    return frozenset(zip(*figures, strict=True))


def _name(text: str, unordered: bool) -> str:
    bare = SPACES.sub("", text.removeprefix("m\\angle").removeprefix("\\angle"))
    return "".join(sorted(bare)) if unordered and SEGMENT.fullmatch(bare) else bare


def _difference(one: Relation) -> Any:
    left, right = map(expression, one.members)
    return None if left is None or right is None else ("add", left, ("minus", right))


def _stated(one: Relation) -> list[str]:
    """Return the members of a chain of equations that state its value; none if they disagree.

    x = 3 states its right side; "5\\sqrt{2} \\approx 7.07" states both sides.
    """
    members = [member for member in one.members if member]
    nodes = [expression(member) for member in members]
    values = [None if node is None else expressions.number(node) for node in nodes]
    # x^2 + y^2 = 4 is a curve, not a value.
    is_curve = any(node is not None and variables(node) >= {"x", "y"} for node in nodes)
    if is_curve or any(map(DENIED.search, members)):
        return []
    constant = [place for place, value in enumerate(values) if value is not None]
    if len(constant) > 1:
        # Several constants, 2 + 3 = 5, state one value only if they agree.
        exact = "\\approx" not in one.signs
        first = values[constant[0]]
        if not all(_agree(first, values[place], exact) for place in constant[1:]):
            return []
        return [members[constant[-1]]] if exact else [members[place] for place in constant]
    if len(members) > 1 and constant == [len(members) - 1] and values[-1] == 0:
        return []  # x^2 - 4 = 0 is an equation to solve, not a statement of the value 0
    if not members:
        return []
    last, first = members[-1], members[0]
    if all(map(_is_part, members)):
        return []  # AB = CD states no value
    return [first] if _is_name(last) and not _is_name(first) else [last]


def _name_of(text: str) -> str:
    """Return the variable that a text is; empty for any other text."""
    node = expression(text)
    return node[1] if isinstance(node, tuple) and node[0] == "variable" else ""


def _is_name(text: str) -> bool:
    return bool(_name_of(text))


def _is_part(text: str) -> bool:
    """Return whether a text names a part of a figure: a segment AB, a point or an angle."""
    name = _name_of(text)
    return name.startswith("angle ") or PART.fullmatch(name) is not None


def _agree(one: Any, other: Any, exact: bool) -> bool:
    if exact:
        return expressions.close(one, other, False)
    try:
        left, right = complex(one), complex(other)
    except (OverflowError, TypeError):
        return False
    return abs(left - right) <= 0.01 * max(abs(left), abs(right))


def _names(items: tuple[str, ...]) -> list[str]:
    """Return the left sides of items without subscripts: x, x for x_1 = 1, x_2 = 2."""
    return [item.partition("=")[0].partition("_")[0].strip() for item in items if "=" in item]


def _values_of(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item.rpartition("=")[2].strip() for item in items)
