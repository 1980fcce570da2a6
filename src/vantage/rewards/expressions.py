r"""Mathematical expressions, parsed from their normal form and compared by value.

Two expressions are equal if their values are equal: rational values exactly, others to 60 digits.
Expressions with variables are evaluated at several points. Neither the size of a number nor the
form of an expression matters: `2\sqrt{2}` equals `\sqrt{8}`, `(x+1)^2` equals `x^2+2x+1`, and
`2^{-60}` differs from `2^{-61}`. Depth, exponents and factorials are bounded, so every expression
is evaluated quickly.

No library parses answers as well. `benchmarks/readers.py` compares 3,421 verdicts of
`tests/rewards/verdicts.csv`: math-verify accepts 162 wrong answers, rejects 1,044 right ones and
gives 29 verdicts a second; SymPy's `sympify` accepts 23, rejects 1,807 and gives 540
(`benchmarks/results/readers.txt`).
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import time
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeAlias

# A number, or (operation, its arguments ...).
Node: TypeAlias = Fraction | tuple

DEPTH = 40  # nested brackets
SECONDS = 0.3  # time limit of the evaluation of two expressions
DIGITS = 60  # precision of values that are not rational, in decimal digits
EXACT_BITS = 20_000  # size of the largest power that is computed as a fraction
LARGEST_EXPONENT = 10**12
LARGEST_FACTORIAL = 10**12
# Tolerance for decimals, 0.333333 for 1/3; the value that math-verify uses.
ROUNDING = Fraction(1, 10**6)

NUMBER = re.compile(
    r"(?:\d{1,3}(?:,\d{3})+(?![\d])|\d{1,3}(?: \d{3})+(?![\d])|\d+)(?:\.\d*)?|\.\d+"
)
EXPONENT = re.compile(r"[eE]([+-]?\d{1,5})(?![\d.])")
ELLIPSIS = re.compile(r"(\d*)\.(\d{0,9}?)(\d{1,6}?)\3+\.\.\.")  # 0.333..., 0.1212...
REPEATING = re.compile(
    r"(\d*)\.(\d*)(?:\\overline ?\{(\d+)\}|\\overline ?(\d)|\\dot ?\{?(\d)\}?"
    r"(?:(\d*)\\dot ?\{?(\d)\}?)?)"
)
MIXED = re.compile(
    r" ?(?:\\frac ?\{(\d{1,9})\} ?\{(\d{1,9})\}|\\frac ?(\d) ?(\d)(?!\d)"
    r"|(?<= )(\d{1,9}) ?/ ?(\d{1,9})(?! ?[/\d]))"
)
ASIDE = re.compile(r" \( ?[\d.,]+ ?\)")  # a second value, not a factor: 1/2 (0.5)
LETTERS = re.compile(r"[A-Za-z]+")
COMMAND = re.compile(r"\\[A-Za-z]+|\\[{}]")
SUBSCRIPT = re.compile(r"_ ?(?:\{([^{}]*)\}|(\w)|\\([a-z]+))")
CIRCULAR = str.split("sin cos tan cot sec csc")
FUNCTIONS = {
    *CIRCULAR,
    *(f"arc{name}" for name in CIRCULAR),
    *("sinh", "cosh", "tanh", "ln", "log", "lg", "exp", "sqrt", "abs"),
}
CONSTANTS = {"pi", "e", "i"}
VARIABLES = set(
    str.split(
        """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau
    upsilon phi chi psi omega Gamma Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell infty
"""
    )
)
# Commands that can start a factor.
FACTORS = {
    *FUNCTIONS,
    *CONSTANTS,
    *VARIABLES,
    *("frac", "surd", "binom", "overline", "overrightarrow", "vec", "angle", "{", "cosec"),
}
# Short words that are not products of variables.
WORDS = set(
    str.split(
        """
    am an as at be by do go he hi if in is it me my no of oh ok on or so to up us we and the for
    not but are was has had can may one two six ten all any yes out off per via its her his him
    she you our who how why when pm
"""
    )
)

# Variables that may be negative, so \sqrt{x^2} is not x. Others are lengths: \sqrt{2a^2} is
# a\sqrt{2}.
UNKNOWNS = frozenset(("x", "y"))


class UnreadableError(ValueError):
    """The text is not an expression that this module can parse."""


class TooLargeError(ArithmeticError):
    """The value would take too long to compute."""


@functools.lru_cache(maxsize=50_000)
def expression(text: str) -> Node | None:
    """Parse a text in normal form as an expression; None if it is not one."""
    try:
        return _Reader(text).whole()
    except (UnreadableError, RecursionError):
        return None


@functools.lru_cache(maxsize=50_000)
def variables(node: Node) -> frozenset[str]:
    """Return the names of the variables in an expression."""
    if isinstance(node, Fraction):
        return frozenset()
    if node[0] == "variable":
        return frozenset((node[1],))
    return frozenset().union(*map(variables, _arguments(node)))


def has(node: Node, operation: str) -> bool:
    """Return whether an expression contains an operation."""
    if isinstance(node, Fraction):
        return False
    return node[0] == operation or any(has(part, operation) for part in _arguments(node))


def _arguments(node: tuple) -> list[Node]:
    """Return the arguments of an operation, without names."""
    return [part for part in node[1:] if isinstance(part, Fraction | tuple)]


@functools.lru_cache(maxsize=100_000)
def equal(one: Node, other: Node, *, rounded: bool = False, scale: Fraction = Fraction(1)) -> bool:
    """Return whether `scale * one` and `other` have the same values.

    Args:
        one, other: The expressions.
        rounded: Whether one of them is written as a decimal, which may be off by `ROUNDING`.
        scale: Factor of the first expression.
    """
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return close(one * scale, other, rounded)
    names = sorted(variables(one) | variables(other))
    return _same_values(one, other, names, rounded, scale)


def close(one: Any, other: Any, rounded: bool) -> bool:
    """Return whether two values are equal; up to `ROUNDING` if one of them is rounded."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        if one == other or not rounded:
            return one == other
        apart = abs(one - other)
        return apart < ROUNDING and apart <= ROUNDING * max(abs(one), abs(other))
    mp = _context()
    left, right = _real(one), _real(other)
    apart, size = abs(left - right), max(abs(left), abs(right))
    if rounded:
        return apart < 1e-6 and apart <= size * mp.mpf("1e-6")
    return apart <= size * mp.mpf(10) ** (15 - DIGITS)


def constant_ratio(one: Node, other: Node) -> Any:
    """Return the constant `one / other`; None if the ratio depends on the variables."""
    names = sorted(variables(one) | variables(other))
    ratios = []
    for point in _points(names, signed=True):
        left, right = _value(one, point), _value(other, point)
        if left is None or right is None or right == 0 or left == 0:
            return None
        ratios.append(
            left / right
            if isinstance(right, Fraction) == isinstance(left, Fraction)
            else _real(left) / _real(right)
        )
    first = ratios[0]
    return first if all(close(ratio, first, False) for ratio in ratios) else None


def number(node: Node) -> Any:
    """Evaluate an expression without variables; None if it has variables or no value."""
    return None if variables(node) else _value(node, {})


def _same_values(one: Node, other: Node, names: list[str], rounded: bool, scale: Fraction) -> bool:
    rooted = bool(names) and UNKNOWNS.issuperset(names) and any(map(_has_root, (one, other)))
    points = _points(names, has(one, "abs") or has(other, "abs")) if names else [{}]
    if rooted:  # at positive points alone, \sqrt{x^2} would equal x
        points += [{name: -abs(value) for name, value in point.items()} for point in points[:2]]
    until = time.monotonic() + SECONDS
    told = 0
    for place, point in enumerate(points):
        left, right = _value(one, point, until), _value(other, point, until)
        if left is None and right is None:
            continue
        if rooted and place >= len(points) - 2 and (_is_complex(left) or _is_complex(right)):
            continue  # a root of a negative number
        if left is None or right is None:
            return False
        left = left * scale if isinstance(left, Fraction) else left * _real(scale)
        if not close(left, right, rounded) and not _both_nothing(one, other, point, left, right):
            return False
        told += 1
    # Points at which both sides are undefined prove nothing, so some must have values.
    return told >= (2 if names else 1)


@functools.lru_cache(maxsize=50_000)
def _has_root(node: Node) -> bool:
    """Return whether an expression contains a root of a term with variables."""
    if isinstance(node, Fraction):
        return False
    exponent = number(node[2]) if node[0] == "power" and variables(node[1]) else None
    if isinstance(exponent, Fraction) and exponent.denominator > 1:
        return True
    return any(map(_has_root, _arguments(node)))


def _is_complex(value: Any) -> bool:
    return isinstance(value, _context().mpc) and value.imag != 0


def _both_nothing(one: Node, other: Node, point: Mapping, left: Any, right: Any) -> bool:
    """Return whether both values are 0 up to rounding errors: \\sin \\pi.

    A rounding error shrinks when the precision grows; a small value does not.
    """
    mp = _context()
    if max(abs(_real(left)), abs(_real(right))) > mp.mpf(10) ** (10 - DIGITS):
        return False
    with mp.workdps(4 * DIGITS):
        again = _value(one, point), _value(other, point)
    return all(map(_vanishes, (left, right), again))


def _vanishes(value: Any, again: Any) -> bool:
    """Return whether a value is 0, or shrinks towards 0 with more digits."""
    if isinstance(value, Fraction) or again is None or value == 0:
        return value == 0
    return abs(_real(again)) < abs(value) * _context().mpf(10) ** -DIGITS


def _points(names: list[str], signed: bool) -> list[dict[str, Fraction]]:
    """Return the points at which expressions are compared, a function of the names alone."""
    points = []
    for number in range(4):
        point = {}
        for name in names:
            # From 0.28 to 3.1 with a prime denominator: no expression is special there by chance.
            digest = hashlib.sha256(f"{name}/{number}".encode()).digest()
            value = Fraction(int.from_bytes(digest[:4], "big") % 9973 + 1000, 3571)
            point[name] = -value if signed and digest[5] % 2 and number % 2 else value
        points.append(point)
    if signed:
        points.append({name: -value for name, value in points[0].items()})
    return points


def _value(node: Node, point: Mapping[str, Fraction], until: float | None = None) -> Any:
    """Evaluate an expression at a point, exactly if possible; None if it has no value."""
    try:
        found = _Evaluation(point, until or time.monotonic() + SECONDS)(node)
    except (ArithmeticError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    if isinstance(found, Fraction):
        return found
    return found if _context().isfinite(found) else None


@functools.cache
def _context() -> Any:
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = DIGITS
    return mp


def _real(value: Any) -> Any:
    if not isinstance(value, Fraction):
        return value
    return _context().mpf(value.numerator) / value.denominator


class _Evaluation:
    """Evaluates expressions at a point; each method computes one operation.

    Args:
        point: Values of the variables.
        until: Monotonic time at which to give up.
    """

    def __init__(self, point: Mapping[str, Fraction], until: float):
        self.point, self.until, self.mp = point, until, _context()

    def __call__(self, node: Node) -> Any:
        if isinstance(node, Fraction):
            return node
        if time.monotonic() > self.until:
            raise TooLargeError
        operation = getattr(self, f"_{node[0]}")
        return operation(*node[1:])

    def _inexact(self, node: Node) -> Any:
        return _real(self(node))

    def _variable(self, name: str) -> Any:
        return self.point[name]

    def _constant(self, name: str) -> Any:
        return {"pi": +self.mp.pi, "e": +self.mp.e, "i": self.mp.mpc(0, 1)}[name]

    def _both(self, one: Node, other: Node) -> tuple[Any, Any]:
        left, right = self(one), self(other)
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return left, right
        return _real(left), _real(right)

    def _add(self, *terms: Node) -> Any:
        total = self(terms[0])
        for term in terms[1:]:
            value = self(term)
            if isinstance(value, Fraction) != isinstance(total, Fraction):
                value, total = _real(value), _real(total)
            total = _small(total + value)
        return total

    def _multiply(self, one: Node, other: Node) -> Any:
        left, right = self._both(one, other)
        return _small(left * right)

    def _divide(self, one: Node, other: Node) -> Any:
        left, right = self._both(one, other)
        return _small(left / right)

    def _minus(self, one: Node) -> Any:
        return -self(one)

    def _abs(self, one: Node) -> Any:
        return abs(self(one))

    def _degrees(self, one: Node) -> Any:
        return self._inexact(one) * self.mp.pi / 180

    def _power(self, one: Node, other: Node) -> Any:
        base, exponent = self(one), self(other)
        if isinstance(exponent, Fraction) and abs(exponent) > LARGEST_EXPONENT:
            raise TooLargeError
        whole = isinstance(exponent, Fraction) and exponent.denominator == 1
        if whole and isinstance(base, Fraction):
            size = max(base.numerator.bit_length(), base.denominator.bit_length())
            if size * abs(exponent) <= EXACT_BITS:
                return base**exponent.numerator
        if isinstance(exponent, Fraction) and exponent.denominator != 1:
            return self._rooted(base, exponent)
        return self._raised(base, exponent)

    def _raised(self, base: Any, exponent: Any) -> Any:
        mp, base, exponent = self.mp, _real(base), _real(exponent)
        if base and abs(mp.log(abs(base)) * abs(exponent)) > LARGEST_EXPONENT:
            raise TooLargeError
        return mp.power(base, exponent)

    def _rooted(self, base: Any, exponent: Fraction) -> Any:
        """Compute a power with a fractional exponent: real for odd roots, exact if possible."""
        order = exponent.denominator
        if isinstance(base, Fraction) and order <= 64:
            negative = base < 0
            if negative and order % 2 == 0:
                return self._raised(base, exponent)
            up, down = _root(abs(base.numerator), order), _root(base.denominator, order)
            if up is not None and down is not None:  # an exact root
                root = Fraction(up, down) * (-1 if negative else 1)
                return self._power(root, Fraction(exponent.numerator))
            found = self._raised(abs(base), exponent)
            return -found if negative and exponent.numerator % 2 else found
        return self._raised(base, exponent)

    def _factorial(self, one: Node) -> Any:
        value = self(one)
        if not isinstance(value, Fraction) or value > LARGEST_FACTORIAL:
            raise TooLargeError
        if value.denominator == 1 and value < 0:
            raise ZeroDivisionError
        if value.denominator == 1 and value <= 1_000:
            return Fraction(math.factorial(value.numerator))
        return self.mp.gamma(_real(value + 1))

    def _binomial(self, one: Node, other: Node) -> Any:
        above, below = self(one), self(other)
        if not (isinstance(above, Fraction) and isinstance(below, Fraction)):
            raise TooLargeError
        if above.denominator != 1 or below.denominator != 1 or not 0 <= above <= 2_000 or below < 0:
            raise TooLargeError
        return Fraction(math.comb(above.numerator, below.numerator))

    def _log_of(self, base: Node, one: Node) -> Any:
        return self.mp.log(self._inexact(one)) / self.mp.log(self._inexact(base))

    def _function(self, name: str, one: Node) -> Any:
        mp, value = self.mp, self._inexact(one)
        if abs(value) > LARGEST_EXPONENT:
            raise TooLargeError
        inverse = name.removeprefix("arc")
        if name == "arccot":
            return mp.pi / 2 - mp.atan(value)
        if inverse != name:
            return getattr(mp, {"sec": "asec", "csc": "acsc"}.get(inverse, f"a{inverse}"))(value)
        return getattr(mp, name)(value)


def _small(value: Any) -> Any:
    if isinstance(value, Fraction):
        size = max(value.numerator.bit_length(), value.denominator.bit_length())
        if size > 4 * EXACT_BITS:
            raise TooLargeError
    return value


def _root(value: int, order: int) -> int | None:
    """Return the integer root of an integer; None if it has none."""
    if value.bit_length() > EXACT_BITS:
        raise TooLargeError
    if order == 2:
        found = math.isqrt(value)
        return found if found * found == value else None
    if value.bit_length() > 1_000:
        return None
    found = round(value ** (1 / order)) if value < 1 << 500 else 0
    return next((n for n in (found - 1, found, found + 1) if n >= 0 and n**order == value), None)


class _Reader:
    """A recursive descent parser of expressions."""

    def __init__(self, text: str):
        self.text, self.place, self.depth = text, 0, 0
        self.bars = 0  # open bars of absolute values
        self.angle = 0  # enclosing trigonometric functions

    def whole(self) -> Node:
        """Parse the whole text as one expression."""
        found = self._over(self._sum())
        if self._peek():
            raise UnreadableError(self.text)
        return found

    def _over(self, above: Node) -> Node:
        r"""Parse the denominator of {3 \over 4}, if there is one."""
        if self._command() != "\\over":
            return above
        self.place += len("\\over")
        return _quotient(above, self._sum())

    def _peek(self) -> str:
        text = self.text
        while self.place < len(text) and text[self.place] == " ":
            self.place += 1
        return text[self.place] if self.place < len(text) else ""

    def _take(self, sign: str) -> bool:
        if self._peek() and self.text.startswith(sign, self.place):
            self.place += len(sign)
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise UnreadableError(self.text)

    def _command(self) -> str:
        """Return the command at this place without consuming it."""
        found = COMMAND.match(self.text, self.place) if self._peek() == "\\" else None
        return found[0] if found else ""

    def _word(self) -> str:
        """Return the run of letters at this place without consuming it."""
        found = LETTERS.match(self.text, self.place) if self._peek() else None
        return found[0] if found else ""

    def _sum(self) -> Node:
        self.depth += 1
        if self.depth > DEPTH:
            raise UnreadableError(self.text)
        terms = [self._product()]
        while (sign := self._peek()) and sign in "+-":
            self.place += 1
            term = self._product()
            terms.append(_minus(term) if sign == "-" else term)
        self.depth -= 1
        if len(terms) > 1 and all(isinstance(term, Fraction) for term in terms):
            return sum(terms, start=Fraction(0))
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def _product(self) -> Node:
        signs = 0
        while (sign := self._peek()) and sign in "+-":
            self.place += 1
            signs += sign == "-"
        found = self._power()
        while True:
            sign = self._peek()
            if sign and sign in "*/":
                if sign == "/":
                    self._refuse_date()
                self.place += 1
                negative = self._take("-")
                factor = self._power()
                factor = _minus(factor) if negative else factor
                found = _product(found, factor) if sign == "*" else _quotient(found, factor)
            elif self._starts():
                found = _product(found, self._power())
            else:
                return _minus(found) if signs % 2 else found

    def _refuse_date(self) -> None:
        """Reject 1/2/2020, a date rather than a quotient of a quotient."""
        if re.search(r"\d/\d+$", self.text[: self.place].rstrip()):
            raise UnreadableError(self.text)

    def _starts(self) -> bool:
        """Return whether a factor without a multiplication sign starts here."""
        sign = self._peek()
        if not sign:
            return False
        if sign == "|":
            return not self.bars and self.text.count("|") % 2 == 0
        if sign.isdecimal() or sign == ".":
            last = self.text[: self.place].rstrip()[-1:]
            if last.isdecimal() or last == ".":
                raise UnreadableError(self.text)
            return last in ")]}!" or self.text[self.place - 1].islower()
        if sign == "\\":
            return self._command()[1:] in FACTORS
        if sign == "(" and ASIDE.match(self.text, self.place - 1):
            raise UnreadableError(self.text)
        return sign.isalpha() or sign in "([{"

    def _power(self) -> Node:
        base = self._postfix(self._atom())
        if self._take("**") or self._take("^"):
            exponent = self._argument(signed=True)
            base = self._postfix(("power", base, exponent))
        return base

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._take("!"):
                if self._peek() == "!":
                    raise UnreadableError(self.text)
                node = ("factorial", node)
            elif self._take("°"):
                node = ("degrees", node) if self.angle else node
            elif self._take("%"):
                node = _quotient(node, Fraction(100))
            else:
                return node

    def _argument(self, signed: bool = False) -> Node:
        """Parse an argument: an expression in braces, or one symbol or number without them."""
        if self._take("{"):
            return self._closed("}")
        if signed and self._peek() in ("-", "+"):
            negative = self._take("-") or not self._take("+")
            value = self._atom()
            return _minus(value) if negative else value
        return self._atom()

    def _digit(self) -> Node:
        """Parse the argument of a fraction, one digit without braces: \\frac12 is one half."""
        if self._peek().isdecimal():
            self.place += 1
            return Fraction(int(self.text[self.place - 1]))
        return self._argument()

    def _closed(self, end: str) -> Node:
        bars, self.bars = self.bars, 0
        found = self._over(self._sum())
        self._expect(end)
        self.bars = bars
        return found

    def _atom(self) -> Node:
        sign = self._peek()
        if not sign:
            raise UnreadableError(self.text)
        if sign.isdecimal() or sign == ".":
            return self._number()
        if sign in "([{":
            self.place += 1
            return self._closed({"(": ")", "[": "]", "{": "}"}[sign])
        if sign == "|":
            return self._bars()
        if sign == "\\":
            return self._named()
        if word := self._word():
            return self._letters(word)
        raise UnreadableError(self.text)

    def _bars(self) -> Node:
        self.place += 1
        self.bars += 1
        inside = self._sum()
        self._expect("|")
        self.bars -= 1
        return ("abs", inside)

    def _number(self) -> Node:
        if repeating := REPEATING.match(self.text, self.place):
            self.place = repeating.end()
            whole, fixed, line, digit, first, middle, last = repeating.groups()
            period = line or digit or (first + (middle or "") + last if last else first)
            return _repeating(whole, fixed, period)
        if ongoing := ELLIPSIS.match(self.text, self.place):
            self.place = ongoing.end()
            return _repeating(*ongoing.groups())
        found = NUMBER.match(self.text, self.place)
        if found is None:
            raise UnreadableError(self.text)
        self.place = found.end()
        value = Fraction(found[0].replace(",", "").replace(" ", "").rstrip("."))
        power = EXPONENT.match(self.text, self.place)
        if power:
            if abs(int(power[1])) > 5_000:
                raise UnreadableError(self.text)
            self.place = power.end()
            return value * Fraction(10) ** int(power[1])
        if "." not in found[0]:
            return self._mixed(value)
        if self.text.startswith("..", self.place):
            raise UnreadableError(self.text)
        return value

    def _mixed(self, whole: Fraction) -> Node:
        r"""Parse the fraction after an integer in a mixed number: 1\frac{1}{2} or 1 1/2."""
        found = MIXED.match(self.text, self.place)
        if not found:
            return whole
        up, down = (int(found[n] or found[n + 2] or found[n + 4]) for n in (1, 2))
        if not 0 < up < down:
            return whole
        self.place = found.end()
        return whole + Fraction(up, down)

    def _named(self) -> Node:
        command = self._command()
        name = command[1:]
        self.place += len(command)
        if name == "frac":
            return _quotient(self._digit(), self._digit())
        if name == "binom":
            return ("binomial", self._digit(), self._digit())
        if name in ("sqrt", "surd"):
            return self._sqrt()
        if name in ("overline", "overrightarrow", "vec"):
            return self._overlined(name)
        if name == "angle":
            return self._angle()
        if name in FUNCTIONS:
            return self._applied(name)
        if name in CONSTANTS:
            return ("constant", name)
        if name in VARIABLES:
            return self._subscripted(name)
        raise UnreadableError(self.text)

    def _sqrt(self) -> Node:
        order: Node = Fraction(2)
        if self._take("["):
            order = self._closed("]")
        inside = self._argument()
        return ("power", inside, ("divide", Fraction(1), order))

    def _overlined(self, name: str) -> Node:
        self._expect("{")
        word = self._word()
        self.place += len(word)
        self._expect("}")
        if not word:
            raise UnreadableError(self.text)
        return ("variable", word if name == "overline" else f"vector {word}")

    def _angle(self) -> Node:
        word = self._word() or (self._peek() if self._peek().isdecimal() else "")
        if not word or not (word.isupper() or len(word) == 1):
            raise UnreadableError(self.text)
        self.place += len(word)
        if len(word) == 3:  # angle ABC is angle CBA
            word = min(word, word[::-1])
        return ("variable", f"angle {word}")

    def _letters(self, word: str) -> Node:
        name = _function_at(word)
        if name:
            self.place += len(name)
            return self._sqrt() if name == "sqrt" else self._applied(name)
        if word in CONSTANTS or word in VARIABLES:
            self.place += len(word)
            return ("constant", word) if word in CONSTANTS else self._subscripted(word)
        if len(word) > 3 or word.lower() in WORDS or self._spelled(word):
            raise UnreadableError(self.text)
        run = re.match(r"[A-Z]+|[a-z]", word)
        assert run is not None
        if numbered := re.compile(r"[A-Z]\d+|[a-z][01]").match(self.text, self.place):
            self.place = numbered.end()
            return self._subscripted(f"{numbered[0][0]}_{numbered[0][1:]}")
        self.place += run.end()
        if run[0] in CONSTANTS and not self.text.startswith("_", self.place):
            return ("constant", run[0])
        return self._subscripted(run[0])

    def _spelled(self, word: str) -> bool:
        """Return whether three letters in a text of letters alone are a word, not a product."""
        if len(word) < 3 or not word.islower() or not self.text.replace(" ", "").isalpha():
            return False
        places = sorted(map(ord, word))
        in_a_row = places == list(range(places[0], places[0] + len(word)))
        return not in_a_row and bool(set(word) & set("aeiouy"))

    def _subscripted(self, name: str) -> Node:
        found = SUBSCRIPT.match(self.text, self.place)
        if found:
            self.place = found.end()
            name = f"{name}_{found[1] or found[2] or found[3]}"
        while self._take("'"):
            name += "'"
        return ("variable", name)

    def _applied(self, name: str) -> Node:
        """Parse a function call, with or without brackets: \\sin^2 x, \\log_2 8, \\cos(3x)."""
        base = power = None
        if self._take("_"):
            base = self._digit()
        if self._take("^"):
            power = self._argument(signed=True)
        circular = name in CIRCULAR
        if circular and power == Fraction(-1):
            name, power, circular = f"arc{name}", None, False
        self.angle += circular
        argument = self._function_argument()
        self.angle -= circular
        node = _call(name, base, argument)
        return node if power is None else ("power", node, power)

    def _function_argument(self) -> Node:
        for begin, end in (("(", ")"), ("{", "}"), ("[", "]")):
            if self._take(begin):
                return self._postfix(self._closed(end))
        negative = self._take("-")
        found = self._power()
        while self._starts() and self._peek() not in "([|" and not self._function_next():
            found = ("multiply", found, self._power())
        return _minus(found) if negative else found

    def _function_next(self) -> bool:
        name = self._command()[1:] or _function_at(self._word())
        return name in FUNCTIONS


def _function_at(word: str) -> str:
    """Return the function at the start of a run of letters, such as sinx; empty if none."""
    if word in FUNCTIONS:
        return word
    for name in ("sin", "cos", "tan", "ln", "log", "lg"):
        if word.startswith(name) and len(word) == len(name) + 1:
            return name
    return ""


def _call(name: str, base: Node | None, argument: Node) -> Node:
    if name == "abs":
        return ("abs", argument)
    if name == "exp":
        return ("power", ("constant", "e"), argument)
    if name in ("log", "lg"):
        return ("log_of", Fraction(10) if base is None else base, argument)
    if name == "ln":
        return ("log_of", ("constant", "e"), argument)
    if base is not None:
        raise UnreadableError(name)
    return ("function", name, argument)


def _product(one: Node, other: Node) -> Node:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one * other
    return ("multiply", one, other)


def _quotient(one: Node, other: Node) -> Node:
    if isinstance(one, Fraction) and isinstance(other, Fraction) and other:
        return one / other
    return ("divide", one, other)


def _minus(node: Node) -> Node:
    return -node if isinstance(node, Fraction) else ("minus", node)


def _repeating(whole: str, fixed: str, period: str) -> Fraction:
    """Return the value of the repeating decimal whole.fixed(period): 0.1\\overline{6}."""
    start = Fraction(int(whole or 0)) + Fraction(int(fixed or 0), 10 ** len(fixed))
    return start + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
