"""Dates, times, money, numerals, options, names: equal in any form, different by value."""

import calendar
import datetime
import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vantage.rewards.accuracy import correct
from vantage.rewards.choice import chosen
from vantage.rewards.numeric import near
from vantage.rewards.signs_in_words import chinese_number

SLOW = settings(deadline=None, max_examples=150)


def both(one: str, other: str) -> bool:
    """Return the verdict, which must be symmetric."""
    verdict = correct(one, other)
    assert correct(other, one) is verdict, (one, other)
    return verdict


DAYS = st.dates(min_value=datetime.date(1900, 1, 1))
DATES = (
    lambda day: f"{calendar.month_name[day.month]} {day.day}, {day.year:04}",
    lambda day: f"{calendar.month_abbr[day.month]} {day.day} {day.year:04}",
    lambda day: f"{day.day} {calendar.month_name[day.month]} {day.year:04}",
    lambda day: f"the {day.day}th of {calendar.month_name[day.month]}, {day.year:04}",
    lambda day: f"on {day.day} {calendar.month_abbr[day.month]}. {day.year:04}",
    lambda day: day.isoformat(),
    lambda day: f"{day.year:04}/{day.month}/{day.day}",
    lambda day: f"{day.year:04}年{day.month}月{day.day}日",
)


@given(DAYS, DAYS, st.sampled_from(DATES), st.sampled_from(DATES))
@SLOW
def test_dates_are_equal_in_any_form_and_differ_by_value(one, other, form, other_form):
    assert both(form(one), other_form(one))
    assert both(form(one), other_form(other)) is (one == other)
    assert not both(form(one), str(one.year))


CLOCKS = (
    lambda hour, minute: f"{hour}:{minute:02} {{}}",
    lambda hour, minute: f"{hour}.{minute:02} {{}}",
    lambda hour, minute: f"{hour:02}:{minute:02}{{}}",
)
HALVES = (("am", "a.m.", "AM", "in the morning"), ("pm", "p.m.", "PM", "in the evening"))


@given(st.data())
@SLOW
def test_times_are_equal_in_any_form_but_differ_between_am_and_pm(data):
    hour, minute = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 59))
    half, form = data.draw(st.integers(0, 1)), data.draw(st.sampled_from(CLOCKS))
    written = form(hour, minute).format(" " + data.draw(st.sampled_from(HALVES[half])))
    assert both(written, f"{hour % 12 + 12 * half:02}:{minute:02}") or hour % 12 + 12 * half == 0
    assert both(written, f"{hour}:{minute:02}{HALVES[half][0]}")
    assert not both(written, f"{hour}:{minute:02} {HALVES[1 - half][0]}")
    assert not both(written, f"{hour}:{(minute + 1) % 60:02} {HALVES[half][0]}")


DIGITS = "零一二三四五六七八九"


def chinese(value: int) -> str:
    """Write a number below 10,000 in Chinese numerals."""
    said, gap = "", False
    for place, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // place % 10
        if digit:
            said += ("零" if gap and said else "") + DIGITS[digit] + name
        gap = digit == 0
    return said


@given(st.integers(1, 9999), st.integers(1, 9999))
@SLOW
def test_numbers_in_chinese_numerals(one, other):
    assert chinese_number(chinese(one)) == one
    assert both(chinese(one), str(other)) is (one == other)
    assert both(f"负{chinese(one)}", f"-{one}") and not both(f"负{chinese(one)}", str(one))
    assert both(f"百分之{chinese(one)}", f"{one}%") and not both(f"百分之{chinese(one)}", f"{one}‰")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("十", 10),
        ("二十四", 24),
        ("两百", 200),
        ("三百零五", 305),
        ("三百五", 350),
        ("一千二百", 1200),
        ("一万二", 12_000),
        ("一万零二", 10_002),
        ("一亿二千万", 120_000_000),
        ("二三", None),
        ("", None),
    ],
)
def test_chinese_numerals(written, value):
    assert chinese_number(written) == value


MONEY = {
    "dollar": ("${}", "US${}", "USD {}", "{} dollars", "{} USD", "{}美元"),
    "pound": ("£{}", "GBP {}", "{} GBP", "{}英镑"),
    "euro": ("€{}", "EUR {}", "{} euros", "{}€", "{}欧元"),
    "yuan": ("CNY {}", "RMB {}", "{} yuan", "{}元", "{}人民币"),
}
AMOUNTS = st.decimals("0.01", "9999", places=2).map(str)
SIZES = ("", " thousand", " million", " billion")


@given(AMOUNTS, st.data())
@SLOW
def test_money_is_equal_in_any_form_but_differs_by_currency_or_amount(amount, data):
    one, other = (data.draw(st.sampled_from(sorted(MONEY))) for _ in range(2))
    size, other_size = (data.draw(st.sampled_from(SIZES)) for _ in range(2))
    form, other_form = (data.draw(st.sampled_from(MONEY[name])) for name in (one, other))
    assume(not size + other_size or not {form, other_form} & {"{}美元", "{}英镑", "{}欧元", "{}元"})
    assume(not size + other_size or not {form, other_form} & {"{}€", "{}人民币"})
    same = (one, size) == (other, other_size)
    assert both(form.format(amount + size), other_form.format(amount + other_size)) is same
    assert not both(form.format(amount), other_form.format(f"-{amount}"))


@given(st.integers(1, 999), st.sampled_from(["K", "M", "B"]), st.sampled_from(["K", "M", "B"]))
@SLOW
def test_abbreviated_magnitude_of_money(number, one, other):
    powers = {"K": 10**3, "M": 10**6, "B": 10**9}
    assert both(f"${number}{one}", f"${number * powers[one]}")
    assert both(f"${number}{one}", f"${number}{other}") is (one == other)
    assert not both(f"${number}{one}", f"${number}")


@given(st.decimals("0.1", "99.9", places=1), st.decimals("0.1", "99.9", places=1))
@SLOW
def test_percentage_and_bare_number(one, other):
    said = both(f"{one}%", str(other))
    assert said is (100 * other == one or (one == other and other >= 1))
    assert near(f"{one}%", f"{one / 100}") and near(f"{one}%", f"{one}") is (one >= 1)


CHINESE_UNITS = {
    "牛": "N",
    "焦耳": "J",
    "瓦": "W",
    "伏": "V",
    "安培": "A",
    "欧": "ohm",
    "赫兹": "Hz",
    "帕": "Pa",
    "米": "m",
    "克": "g",
    "秒": "s",
    "升": "L",
}
PREFIXES = {"": "", "千": "k", "毫": "m", "微": "μ", "纳": "n", "兆": "M"}


@given(st.integers(1, 999), st.data())
@SLOW
def test_chinese_units_are_equal_but_differ_by_prefix_or_unit(number, data):
    units, prefixes = st.sampled_from(sorted(CHINESE_UNITS)), st.sampled_from(sorted(PREFIXES))
    unit, other, prefix, other_prefix = map(data.draw, (units, units, prefixes, prefixes))
    assume((prefix, unit) != ("兆", "升"))  # some write mL as ML
    said = f"{number}{prefix}{unit}"
    assert both(said, f"{number} {PREFIXES[prefix]}{CHINESE_UNITS[unit]}")
    same = (unit, prefix) == (other, other_prefix)
    assert both(said, f"{number}{other_prefix}{other}") is same


LETTERS = st.sets(st.sampled_from("ABCDE"), min_size=2, max_size=4).map(sorted)
LISTED = (
    "".join,
    ", ".join,
    " and ".join,
    "、".join,
    lambda names: "Options " + " and ".join(names),
    lambda names: "{" + ", ".join(names) + "}",
    lambda names: "".join(f"({name})" for name in names),
    lambda names: ", ".join(names).lower(),
    lambda names: " 和 ".join(names),
)


@given(LETTERS, LETTERS, st.sampled_from(LISTED), st.sampled_from(LISTED))
@SLOW
def test_several_options_are_equal_in_any_form(one, other, form, other_form):
    assert both(form(one), other_form(other)) is (one == other)
    assert chosen(form(one), other_form(other)) is (one == other)
    assert not both(" or ".join(one), form(one))
    assert not both(one[0], form(one))


@given(st.permutations("ABCD"), st.permutations("ABCD"))
@SLOW
def test_a_permutation_of_all_options_keeps_its_order(one, other):
    assert both("".join(one), ", ".join(other)) is (one == other)


CIRCLED = st.sets(st.sampled_from("①②③④⑤"), min_size=2, max_size=4)


@given(CIRCLED, CIRCLED, st.sampled_from(["", ", ", "、", " and ", "和"]))
@SLOW
def test_circled_numbers_are_a_list(one, other, sign):
    written, others = sorted(one), sorted(other)
    numbers = [str("①②③④⑤".index(name) + 1) for name in written]
    assert both(sign.join(written), "".join(others)) is (one == other)
    assert both("".join(written), ", ".join(numbers))
    assert not both("".join(written), "".join(numbers))
    assert not both("或".join(written), "".join(others))


@given(st.permutations("ABC"), st.permutations("DEF"))
@SLOW
def test_the_corners_of_similar_triangles_correspond(one, other):
    written = "\\triangle {} \\sim \\triangle {}".format("".join(one), "".join(other))
    corners = dict(zip(one, other, strict=True))
    assert both(written, "△ABC∽△DEF") is (corners == {"A": "D", "B": "E", "C": "F"})
    assert both(f"△{''.join(one)}", "\\triangle ABC")
    assert both(f"∠{''.join(one)}", "\\angle ABC") is (one[1] == "B")


@pytest.mark.parametrize("pair", itertools.combinations(("AA", "Aa", "aa", "BB", "bb", "Bb"), 2))
def test_symbols_are_case_sensitive(pair):
    assert not both(*pair)


@pytest.mark.parametrize("word", ["blue", "no", "yes", "it", "pm", "iv", "ii", "up", "cat", "usa"])
def test_words_are_case_insensitive(word):
    assert both(word, word.upper()) and both(word, word.title())


BETWEEN = ("{}-{}", "{} to {}", "from {} to {}", "between {} and {}", "{}~{}", "{}至{}")


@given(st.integers(1, 99), st.integers(100, 999), st.data())
@SLOW
def test_a_range_is_equal_in_any_form_but_not_to_a_value_in_it(low, high, data):
    form, other = data.draw(st.sampled_from(BETWEEN)), data.draw(st.sampled_from(BETWEEN))
    assert both(form.format(low, high), other.format(low, high))
    assert not both(form.format(low, high), other.format(low, high + 1))
    for value in (low, high, low - high, (low + high) / 2):
        assert not both(form.format(low, high), str(value))


WORDS = st.sampled_from(["blue", "red", "circle", "square", "north", "Boston", "acute"])
SAYING = (
    "It is {}.",
    "The answer is {}.",
    "The color is {}.",
    "the {} one",
    "{} side",
    "on the {}",
)
DENYING = ("It is not {}.", "The color is not {}", "not {}", "Nothing is {}", "no {}")


@given(WORDS, WORDS, st.sampled_from(SAYING), st.sampled_from(DENYING))
@SLOW
def test_a_sentence_equals_its_core_but_not_its_negation(one, other, form, denial):
    assert both(form.format(one), other) is (one == other)
    assert not both(denial.format(one), other)
    assert not both(form.format(f"{one} or {other}"), other) or one == other
