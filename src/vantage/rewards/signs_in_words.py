"""Conversion of English and Chinese words for signs and numbers to symbols.

"AB is parallel to CD" becomes `AB \\parallel CD`, "negative 3" becomes -3, "百分之五" becomes 5%.
`symbolic` only converts words with a single mathematical meaning; "三角形" alone stays a word.
"""

from __future__ import annotations

import re

from vantage.rewards.units import is_thing, unit

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
COUNT = re.compile(rf"(?:{'|'.join(sorted(COUNTS, key=len, reverse=True))})\b", re.I)
NUMERALS = re.compile(
    rf"(-?)({COUNT.pattern}(?:[- ](?:and )?(?:{COUNT.pattern}|(?:hundred|thousand)\b))+)", re.I
)
# Applied in order: longer and negated phrases come before the phrases they contain.
REPLACED = tuple(
    (re.compile(pattern), sign)
    for pattern, sign in (
        (r"大于(?:或)?等于|不小于|不少于|不低于", r" \\geq "),
        (r"小于(?:或)?等于|不大于|不超过|不多于|不高于", r" \\leq "),
        (r"不等于|\bis not equal to\b", r" \\neq "),
        (r"(?<!不)大于", " > "),
        (r"(?<!不)小于", " < "),
        (r"(?<!不)等于", " = "),
        (r"(?<!不)平行于|\bis parallel to\b", r" \\parallel "),
        (r"(?<!不)垂直于|\bis perpendicular to\b", r" \\perp "),
        (r"\bis (?:greater than or equal to|at least|no less than|not less than)\b", r" \\geq "),
        (r"\bis (?:less than or equal to|at most|no more than|not more than)\b", r" \\leq "),
        (r"\bis (?:greater|more) than\b", " > "),
        (r"\bis less than\b", " < "),
        (r"三角形 ?(?=[A-Z]{3}(?![A-Za-z]))|(?<!\\)\b[Tt]riangle (?=[A-Z]{3}\b)", r"\\triangle "),
        (r"角 ?(?=[A-Z]{1,3}(?![A-Za-z]))", r"\\angle "),
        (r"(?<!right )(?<!\\)\b[Aa]ngle (?=[A-Z]{1,3}\b)", r"\\angle "),
        (r"圆 ?(?=[A-Z](?![A-Za-z]))|\b[Cc]ircle (?=[A-Z]\b)", r"\\odot "),
        (r"线段 ?(?=[A-Z]{2}(?![A-Za-z]))|\b(?:line )?[Ss]egment (?=[A-Z]{2}\b)", "segment "),
        (r"点 ?(?=[A-Z]?\()", ""),
        (rf"(?:[Nn]egative|\b[Mm]inus) (?=[\d.\\]|(?:{'|'.join(SMALL[1:11])})\b)", "-"),
        (r"负(?=[\d.\\零一二两三四五六七八九十百千])", "-"),
        (r"^(\d+) out of (\d+)$", r"\1/\2"),
        (r"(?<=[A-Z\d)]) only$", ""),
        (r"(\d+)个半(?=小时|月|$)", r"\1.5"),
        (r"(?<=\d) ?[至到] ?(?=\d)", "-"),
    )
)
ALONE = {
    **{"greater than": ">", "less than": "<", "equal to": "=", "大于": ">", "小于": "<"},
    **{"等于": "=", "空集": "\\emptyset", "empty set": "\\emptyset", "一半": "1/2"},
    **dict.fromkeys(("全体实数", "一切实数", "任意实数", "实数集"), "\\R"),
}
WORDY = re.compile(r"[\u4e00-\u9fff]|[A-Za-z]{4}| out of ")
QUADRANT = re.compile(
    r"(?:quadrant (?P<after>\w+)|(?:the )?(?P<before>\w+) quadrant|第(?P<chinese>[一二三四])象限)",
    re.I,
)
FIRST_FOUR = {
    **dict.fromkeys(("i", "1", "1st", "first", "一"), 1),
    **dict.fromkeys(("ii", "2", "2nd", "second", "二"), 2),
    **dict.fromkeys(("iii", "3", "3rd", "third", "三"), 3),
    **dict.fromkeys(("iv", "4", "4th", "fourth", "四"), 4),
}

CHINESE_DIGITS = {sign: n for n, sign in enumerate("零一二三四五六七八九")} | {"两": 2}
CHINESE_TENS = {"十": 10, "百": 100, "千": 1_000}
NUMERAL = r"[一二两三四五六七八九十][零一二两三四五六七八九十百千万亿]*"
COLLOQUIAL = re.compile(r"([百千万亿])([一二三四五六七八九])$")  # 三百五 is 350
CHINESE = re.compile(rf"(-?)(百分之)?({NUMERAL})(?:分之({NUMERAL}))?")


def symbolic(text: str) -> str:
    """Replace words for signs in a text in normal form by the signs."""
    if not WORDY.search(text):
        return text
    bare = re.sub(r"^the ", "", text.lower())
    if bare in ALONE:
        return ALONE[bare]
    for pattern, sign in REPLACED:
        text = pattern.sub(sign, text)
    return _in_digits(" ".join(text.split(" ")).strip())


def quadrant(text: str) -> int | None:
    """Return the number of the quadrant that a text names; None if it names none."""
    found = QUADRANT.fullmatch(text)
    return FIRST_FOUR.get((found[1] or found[2] or found[3]).lower()) if found else None


def spelled_out(written: str) -> int | None:
    """Parse a number in words: two thousand five hundred and six; None for other words."""
    total = group = 0
    if re.search("(?<!hundred)(?<!thousand) and ", written, re.I):
        return None  # twenty and three are two numbers
    for word in re.split("[- ]", written.lower()):
        if word == "thousand":
            total, group = total + 1000 * group, 0
        elif word == "hundred" and 0 < group < 100:
            group *= 100
        elif word != "and":
            count = COUNTS.get(word, 0)
            last = group % 100
            if not count or (last and (count > 9 or last % 10 or last < 20)):
                return None
            group += count
    return total + group


def _in_digits(text: str) -> str:
    """Convert the number in words at the start of a text to digits, unless a noun follows it.

    A number before a noun can be part of a word, so it stays.
    """
    if (long := NUMERALS.match(text)) and (spelled := spelled_out(long[2])):
        return f"{long[1]}{spelled}{text[long.end() :]}"
    found = CHINESE.match(text)
    if found is None:
        return text
    sign, percent, first, second = found.groups()
    number, above = chinese_number(first), chinese_number(second or "")
    rest = text[found.end() :]
    if rest.startswith("个半"):
        first, rest = f"{number}.5", rest.removeprefix("个半")
    else:
        first = str(number)
    counted = unit(rest)
    if number is None or (rest and (counted is None or is_thing(counted))) or rest == "角":
        return text
    if second is not None:
        return text if above is None or percent else f"{sign}{above}/{number}{rest}"
    return f"{sign}{first}{'%' if percent else ''}{rest}"


def chinese_number(written: str) -> int | None:
    """Parse a Chinese integer, such as 二十四 or 三百零五; None for other texts."""
    if short := COLLOQUIAL.search(written):
        tens = {"百": "十", "千": "百", "万": "千", "亿": "千万"}[short[1]]
        written += tens
    total = group = 0
    digit: int | None = None  # a digit whose power of ten comes next
    for sign in written:
        if sign == "零":
            continue
        if sign in CHINESE_DIGITS:
            if digit is not None:
                return None
            digit = CHINESE_DIGITS[sign]
        elif sign in CHINESE_TENS:
            group += (1 if digit is None else digit) * CHINESE_TENS[sign]
            digit = None
        else:
            group, digit = group + (digit or 0), None
            total = total + group * 10**4 if sign == "万" else (total + group) * 10**8
            group = 0
    return total + group + (digit or 0) if written else None
