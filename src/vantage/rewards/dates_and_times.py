"""Parsing of times of day and dates: "9.30 am", "half past 3", "5 Mar 2020", "下午3点"."""

from __future__ import annotations

import calendar
import re
from fractions import Fraction
from typing import NamedTuple


class Time(NamedTuple):
    """A time of day.

    Attributes:
        minutes: Minutes since midnight.
        stated: Whether the text tells morning from afternoon.
    """

    minutes: Fraction
    stated: bool


class Date(NamedTuple):
    """A month or a day; parts that the text leaves out are None."""

    year: int | None
    month: int
    day: int | None


# Other ways to write a time and their standard form, applied in order.
SAID = tuple(
    (re.compile(pattern, re.I), clock)
    for pattern, clock in (
        (r"(?:12 )?noon|12 ?p\.?m\.? \(noon\)", "12:00 pm"),
        (r"(?:12 )?midnight", "12:00 am"),
        (r"half past (\d{1,2})\b", r"\1:30"),
        (r"quarter past (\d{1,2})\b", r"\1:15"),
        (r"(\d{1,2}) ?o'?clock", r"\1:00"),
        (r"(.+?) in the morning", r"\1 am"),
        (r"(.+?) (?:in the (?:afternoon|evening)|at night)", r"\1 pm"),
        (r"(?:上午|早上|凌晨)(.+)", r"\1 am"),
        (r"(?:下午|晚上)(.+)", r"\1 pm"),
        (r"(\d{1,2})点半(.*)", r"\1:30\2"),
        (r"(\d{1,2})点(\d\d)分?(.*)", r"\1:\2\3"),
        (r"(\d{1,2})点整?( .*)?", r"\1:00\2"),
    )
)
SAYING = re.compile(r"\d|noon|midnight", re.I)
HALF_DAY = re.compile(r"(\d{1,2})(?:[:.]([0-5]\d))?(?::([0-5]\d))? ?([ap])\.? ?m\.?", re.I)
CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)")

MONTHS = {
    name.lower(): number
    for names in (calendar.month_name, calendar.month_abbr)
    for number, name in enumerate(names)
    if name
} | {"sept": 9}
WEEKDAYS = {name.lower() for name in (*calendar.day_name, *calendar.day_abbr)}
MONTH = rf"(?P<month>{'|'.join(sorted(MONTHS, key=len, reverse=True))})\.?"
PREPOSITION = re.compile(r"^(?:in|on) (?=\w)", re.I)
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
YEAR = r"(?P<year>\d{4})"
DATES = tuple(
    re.compile(form, re.I)
    for form in (
        rf"{MONTH}(?: {DAY}(?!\d))?(?:,? {YEAR})?",
        rf"(?:the )?{DAY}(?: of)? {MONTH}(?:,? {YEAR})?",
        rf"{YEAR}(?P<sign>[-/.])(?P<month>\d{{1,2}})(?P=sign){DAY}",
        rf"(?:{YEAR} ?年 ?)?(?P<month>\d{{1,2}}) ?月(?: ?{DAY} ?[日号])?",
    )
)


def is_moment(text: str) -> bool:
    """Return whether a text is a time of day, a date or a day of the week."""
    return text.lower() in WEEKDAYS or time(text) is not None or date(text) is not None


def time(text: str) -> Time | None:
    """Parse a text in normal form as a time of day; None if it is not one."""
    if not SAYING.search(text):
        return None
    for said, standard in SAID:
        if found := said.fullmatch(text):
            text = found.expand(standard)
    if found := HALF_DAY.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
        if hours > 12:
            return None
        hours = hours % 12 + (12 if found[4].lower() == "p" else 0)
        return Time(60 * hours + minutes + Fraction(seconds, 60), True)
    clock = CLOCK.fullmatch(text)
    if clock is None or int(clock[1]) >= 24:
        return None
    hours = int(clock[1])
    return Time(Fraction(60 * hours + int(clock[2])), hours > 12 or hours == 0)


def date(text: str) -> Date | None:
    """Parse a text in normal form as a date; None if it is not one."""
    text = PREPOSITION.sub("", text)
    for form in DATES:
        if found := form.fullmatch(text):
            named = found.groupdict()
            month = MONTHS.get(named["month"].lower()) or int(named["month"])
            day, year = (int(named.get(name) or 0) or None for name in ("day", "year"))
            if 1 <= month <= 12 and (day or 1) <= 31:
                return Date(year, month, day)
    return None
