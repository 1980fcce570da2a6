"""A teacher's verdicts on a thousand answers, and changes that must not affect them."""

import csv
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pairs import PAIRS

from vantage.rewards import accuracy
from vantage.rewards.accuracy import correct

HERE = Path(__file__).parent
with (HERE / "verdicts.csv").open(encoding="utf-8", newline="") as file:
    TABLE = [
        (row["answer"], row["reference"], row["right"] == "yes") for row in csv.DictReader(file)
    ]


@pytest.mark.parametrize(("answer", "reference", "right"), TABLE)
def test_verdicts_match_the_teacher_in_both_directions(answer, reference, right):
    assert correct(answer, reference) is right
    assert correct(reference, answer) is right


def test_both_verdicts_are_common_without_duplicate_pairs():
    assert len({pair[:2] for pair in TABLE}) == len(TABLE)
    assert 0.3 < sum(right for *_, right in TABLE) / len(TABLE) < 0.7


def plain_text(answer: str) -> bool:
    return not set(answer) & set("\\$^_")


def full_width(answer: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in answer)


DRESS = {
    "box": lambda answer: f"\\boxed{{{answer}}}",
    "other box": lambda answer: f"\\fbox{{{answer}}}",
    "parentheses": lambda answer: f"\\({answer}\\)",
    "display": lambda answer: f"\\[ {answer} \\]",
    "style": lambda answer: f"\\displaystyle {answer}",
    "bold": lambda answer: f"\\mathbf{{{answer}}}",
    "colour": lambda answer: f"\\textcolor{{red}}{{{answer}}}",
    "space": lambda answer: f"  {answer} \n",
    "thin space": lambda answer: f"\\,{answer}\\;",
    "full stop": lambda answer: answer if answer.endswith("...") else f"{answer}.",
    "dollars": lambda answer: answer if "$" in answer else f"${answer}$",
    "Markdown": lambda answer: answer if "*" in answer else f"**{answer}**",
    "text": lambda answer: f"\\text{{{answer}}}" if plain_text(answer) else answer,
    "full width": lambda answer: full_width(answer) if plain_text(answer) else answer,
}


@pytest.mark.parametrize("name", DRESS)
def test_formatting_never_changes_a_verdict(name):
    put_on = DRESS[name]
    for answer, reference, right in [*TABLE, *PAIRS]:
        if not answer.strip():
            continue
        assert correct(put_on(answer), reference) is right, (answer, reference)
        assert correct(answer, put_on(reference)) is right, (answer, reference)


# Units by name, with their dimension and their size in the first unit.
UNITS = {
    "m": ("length", 1),
    "cm": ("length", Fraction(1, 100)),
    "km": ("length", 1000),
    "mm": ("length", Fraction(1, 1000)),
    "μm": ("length", Fraction(1, 10**6)),
    "ft": ("length", Fraction(3048, 10_000)),
    "kg": ("mass", 1000),
    "g": ("mass", 1),
    "mg": ("mass", Fraction(1, 1000)),
    "s": ("time", 1),
    "ms": ("time", Fraction(1, 1000)),
    "min": ("time", 60),
    "hours": ("time", 3600),
    "W": ("power", 1),
    "kW": ("power", 1000),
    "MW": ("power", 10**6),
    "mW": ("power", Fraction(1, 1000)),
    "J": ("energy", 1),
    "kJ": ("energy", 1000),
    "N": ("force", 1),
    "kN": ("force", 1000),
    "V": ("voltage", 1),
    "mV": ("voltage", Fraction(1, 1000)),
    "A": ("current", 1),
    "mA": ("current", Fraction(1, 1000)),
    "Hz": ("frequency", 1),
    "kHz": ("frequency", 1000),
    "Pa": ("pressure", 1),
    "kPa": ("pressure", 1000),
    "Ω": ("resistance", 1),
    "kΩ": ("resistance", 1000),
    "m/s": ("speed", 1),
    "km/h": ("speed", Fraction(5, 18)),
    "cm/s": ("speed", Fraction(1, 100)),
    "m/s^2": ("acceleration", 1),
    "cm^2": ("area", Fraction(1, 10**4)),
    "m^2": ("area", 1),
    "km^2": ("area", 10**6),
    "cm^3": ("volume", Fraction(1, 10**6)),
    "m^3": ("volume", 1),
    "L": ("volume", Fraction(1, 1000)),
    "mL": ("volume", Fraction(1, 10**6)),
    "°C": ("celsius", 1),
    "°F": ("fahrenheit", 1),
    "°": ("angle", 1),
    "dollars": ("dollars", 1),
    "cents": ("dollars", Fraction(1, 100)),
    "euros": ("euros", 1),
    "apples": ("apples", 1),
}
NUMBERS = st.one_of(
    st.integers(1, 10**6).map(str),
    st.decimals("0.01", "999", places=2).map(str),
    st.tuples(st.integers(1, 99), st.integers(2, 99)).map(lambda pair: "{}/{}".format(*pair)),
    st.integers(2, 99).map("{}\\pi".format),
    st.sampled_from([2, 3, 5, 7, 11]).map("2\\sqrt{{{}}}".format),
)
WRITTEN = st.sampled_from(
    ["{} {}", "{}\\text{{ {}}}", "{} \\text{{{}}}", "{}\\,\\mathrm{{{}}}", "{}~\\text{{{}}}"]
)


@given(NUMBERS, st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)), WRITTEN, WRITTEN)
@settings(deadline=None, max_examples=400)
def test_another_unit_or_prefix_is_never_right(number, one, other, form, other_form):
    assume(UNITS[one] != UNITS[other])
    assert not correct(form.format(number, one), other_form.format(number, other))


@given(NUMBERS, st.sampled_from(sorted(UNITS)), WRITTEN, WRITTEN)
@settings(deadline=None, max_examples=200)
def test_the_unit_may_have_any_spelling_or_be_missing(number, unit, form, other_form):
    answer = form.format(number, unit)
    assert correct(answer, other_form.format(number, unit))
    assert correct(answer, number) and correct(number, answer)


@given(st.integers(1, 500), st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)))
@settings(deadline=None, max_examples=200)
def test_units_of_equal_size_are_right(number, one, other):
    assume(UNITS[one][0] == UNITS[other][0])
    value = number * Fraction(UNITS[one][1]) / Fraction(UNITS[other][1])
    assert correct(f"{number} {one}", f"{value.numerator}/{value.denominator} {other}")


POWERS = st.sampled_from(
    ["{}\\times 10^{{{}}}", "{} \\cdot 10^{{{}}}", "{}e{}", "{}*10^{{{}}}", "{} x 10^{{{}}}"]
)


@given(
    st.integers(10, 99).map(lambda n: f"{n / 10}"),
    st.integers(-40, 40),
    st.integers(-40, 40),
    POWERS,
    POWERS,
)
@settings(deadline=None)
def test_another_power_of_ten_is_never_right(number, one, other, form, other_form):
    same = correct(form.format(number, one), other_form.format(number, other))
    assert same is (one == other)


@given(st.integers(2, 9), st.integers(-300, 300), st.integers(-300, 300))
@settings(deadline=None)
def test_another_exponent_is_never_right(base, one, other):
    assert correct(f"{base}^{{{one}}}", f"{base}^{{{other}}}") is (one == other)


@given(NUMBERS, WRITTEN, st.sampled_from(["", *sorted(UNITS)]))
@settings(deadline=None)
def test_another_sign_is_never_right(number, form, unit):
    answer = form.format(number, unit) if unit else number
    assert not correct(f"-{answer}", answer) and not correct(answer, f"-{answer}")


HEDGES = [
    "{} or {}",
    "{}, {}",
    "{} | {}",
    "{}\n{}",
    "{}; {}",
    "{} ({})",
    "{} (or {})",
    "{}~{}",
    "{}-{}",
    "{} and {}",
    "{} / {}",
    "{} to {}",
    "{}\\text{{ or }}{}",
    "{}\\\\{}",
    "{} = {}",
    "{} {}",
    "\\{{{}, {}\\}}",
    "({}, {})",
    "{} or maybe {}",
    "between {} and {}",
]


@given(st.integers(2, 999), st.integers(2, 999), st.sampled_from(HEDGES))
@settings(deadline=None, max_examples=300)
def test_two_different_values_are_never_right(one, other, hedge):
    assume(one != other)
    answer = hedge.format(one, other)
    assert not correct(answer, str(one)) and not correct(answer, str(other)), answer


LETTERS = st.sampled_from("ABCDE")


@given(
    LETTERS,
    LETTERS,
    st.sampled_from(["{}", "({})", "{}.", "Option {}", "The answer is {}.", "{}. 8"]),
)
def test_another_letter_is_never_right(one, other, form):
    assert correct(form.format(one), other) is (one == other)


ANY = st.text(st.sampled_from("0123456789.,+-*/^(){}[]|xyabe= <>%°\\$cmkABC:~\n"), max_size=14)


@given(ANY, ANY)
@settings(deadline=None, max_examples=400)
def test_verdicts_are_symmetric(one, other):
    assert correct(one, other) is correct(other, one)


with (HERE / "responses.csv").open(encoding="utf-8", newline="") as file:
    RESPONSES = [
        (row["response"], row["reference"], row["right"] == "yes") for row in csv.DictReader(file)
    ]


@pytest.mark.parametrize(("response", "reference", "right"), RESPONSES)
def test_verdicts_on_responses_match_the_teacher(response, reference, right):
    assert accuracy([response], answer=[reference]) == [float(right)]
