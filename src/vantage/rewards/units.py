"""Parsing of units: the dimension and the size of each.

The units are those of pint (https://pint.readthedocs.io), which knows names, prefixes and exact
sizes. This module adds what words mean in answers: which of pint's units are allowed (a "point"
in an answer is not 1/72 inch), and names that pint lacks, for money, degrees, percentages and
Chinese units. pint is imported for the first unit, and every unit is looked up once.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Any, NamedTuple

Dimension = tuple[tuple[str, Fraction], ...]


class Unit(NamedTuple):
    """A unit.

    Attributes:
        dimension: Powers of base units, sorted; units with equal dimensions are comparable.
        size: Size of one unit in these base units.
    """

    dimension: Dimension
    size: Fraction


RADIAN = Unit((("radian", Fraction(1)),), Fraction(1))
DEGREE = Unit((("degree", Fraction(1)),), Fraction(1))
PERCENT = Unit((("percent", Fraction(1)),), Fraction(1))
LONGEST = 60  # characters

# The units of pint that answers may use.
KNOWN = frozenset(
    str.split(
        """
    meter gram second minute hour day week fortnight month year century liter metric_ton ampere
    kelvin mole candela hertz newton joule watt pascal volt ohm coulomb farad siemens weber
    tesla henry lumen lux becquerel gray sievert bar atmosphere standard_atmosphere torr
    meter_Hg pound_force_per_square_inch electron_volt calorie british_thermal_unit
    horsepower watt_hour hectare acre inch foot yard mile nautical_mile knot mile_per_hour
    kilometer_per_hour light_year parsec astronomical_unit angstrom ounce pound stone pint quart
    gallon cup tablespoon teaspoon fluid_ounce cubic_centimeter bit byte radian
    revolutions_per_minute revolution_per_minute dyne erg molar cubic_foot cubic_inch cubic_yard
    square_foot square_inch square_yard square_mile barrel kilogram micron gauss
"""
    )
)
PREFIXES = frozenset(
    str.split(
        """
    tera giga mega kilo hecto deca deci centi milli micro nano pico femto kibi mebi gibi
"""
    )
) | {""}
# Allowed for a few units alone (see `_pints`), or many ordinary words would parse as units.
RARE = frozenset(("hecto", "deca", "deci"))

# From a name in an answer to pint's name, or to a new dimension and the size in it.
NAMES: dict[str, str | tuple[str, Fraction]] = {
    **dict.fromkeys(("ton", "tons", "t", "吨"), "tonne"),
    **dict.fromkeys(("千瓦时", "kwh", "KWh", "KWH"), "kWh"),
    **{"卡": "calorie", "千卡": "kilocalorie", "大卡": "kilocalorie", "弧度": "radian"},
    **dict.fromkeys(("kmph", "kph", "kmh"), "km/h"),
    **dict.fromkeys(("sec", "secs", "秒钟"), "s"),
    **dict.fromkeys(("min", "mins", "分钟", "分"), "minute"),
    **dict.fromkeys(("hr", "hrs", "h", "小时", "时"), "hour"),
    **dict.fromkeys(("yr", "yrs", "年"), "year"),
    **dict.fromkeys(("天", "日"), "day"),
    **dict.fromkeys(("周", "星期"), "week"),
    **dict.fromkeys(("gm", "gms", "gr"), "g"),
    **dict.fromkeys(("kgs", "Kg", "KG", "公斤"), "kg"),
    **dict.fromkeys(("KM", "Km", "kms", "公里"), "km"),
    **dict.fromkeys(("CM", "Cm", "cms", "公分"), "cm"),
    **dict.fromkeys(("ltr", "ltrs"), "L"),
    **dict.fromkeys(("amp", "amps"), "A"),
    **{"Nm": "N*m", "kNm": "kN*m", "Ns": "N*s", "Ah": "A*h", "mAh": "mA*h"},
    **dict.fromkeys(("electron volt", "electron volts", "electron-volts"), "eV"),
    **dict.fromkeys(("cc", "ccm"), "cm^3"),
    **dict.fromkeys(("KW", "Kw", "kw"), "kW"),
    **{"mms": "mm", "KB": "kB", "ML": "mL", "sqft": "ft^2", "mm Hg": "mmHg", "Å": "angstrom"},
    **dict.fromkeys(("Ω", "\\Omega"), "ohm"),
    **dict.fromkeys(("light years", "light year", "light-years", "light-year"), "light_year"),
    **dict.fromkeys(("r/min", "rev/min", "转/分", "转/分钟"), "rpm"),
    **dict.fromkeys(("dB", "decibel", "decibels", "分贝"), ("decibel", Fraction(1))),
    **dict.fromkeys(("°", "deg", "degs", "degree", "degrees", "度"), ("degree", Fraction(1))),
    **dict.fromkeys(
        ("%", "percent", "per cent", "pct", "percentage points"), ("percent", Fraction(1))
    ),
    **dict.fromkeys(("‰", "per mille"), ("percent", Fraction(1, 10))),
    **dict.fromkeys(("°C", "degC", "celsius"), ("celsius", Fraction(1))),
    **dict.fromkeys(("degrees celsius", "degree celsius", "摄氏度"), ("celsius", Fraction(1))),
    **dict.fromkeys(("°F", "degF", "fahrenheit"), ("fahrenheit", Fraction(1))),
    **dict.fromkeys(("degrees fahrenheit", "degree fahrenheit"), ("fahrenheit", Fraction(1))),
    **dict.fromkeys(("$", "US$", "usd", "USD", "bucks", "美元"), ("dollar", Fraction(1))),
    **dict.fromkeys(("dollar", "dollars", "US dollars"), ("dollar", Fraction(1))),
    **dict.fromkeys(("cent", "cents", "¢", "美分"), ("dollar", Fraction(1, 100))),
    **dict.fromkeys(("€", "euro", "euros", "eur", "EUR", "欧元"), ("euro", Fraction(1))),
    **dict.fromkeys(("£", "gbp", "GBP", "英镑"), ("sterling", Fraction(1))),
    **dict.fromkeys(("yuan", "rmb", "RMB", "CNY", "元", "块", "人民币"), ("yuan", Fraction(1))),
    **dict.fromkeys(("yen", "JPY", "日元"), ("yen", Fraction(1))),
    **{"角": ("yuan", Fraction(1, 10)), "¥": ("yen or yuan", Fraction(1))},
    **dict.fromkeys(("rupee", "rupees", "Rs", "Rs.", "INR", "₹"), ("rupee", Fraction(1))),
}
# Chinese units, used alone or with a prefix below.
CHINESE = {
    **{"米": "meter", "克": "gram", "升": "liter", "秒": "second", "开尔文": "kelvin"},
    **{"摩尔": "mole", "帕": "pascal", "帕斯卡": "pascal", "牛": "newton", "牛顿": "newton"},
    **{"焦": "joule", "焦耳": "joule", "瓦": "watt", "瓦特": "watt", "伏": "volt", "伏特": "volt"},
    **{"安": "ampere", "安培": "ampere", "欧": "ohm", "欧姆": "ohm", "赫": "hertz"},
    **{"赫兹": "hertz", "库": "coulomb", "库仑": "coulomb", "法": "farad", "法拉": "farad"},
    **{"特斯拉": "tesla", "韦伯": "weber", "亨": "henry", "亨利": "henry"},
    **{"电子伏": "electron_volt", "电子伏特": "electron_volt"},
}
CHINESE_PREFIXES = {
    **{"千": "kilo", "兆": "mega", "毫": "milli", "微": "micro", "纳": "nano"},
    **{"厘": "centi", "分": "deci"},
}
NAMES |= {
    said + name: sign + meant
    for said, sign in [*CHINESE_PREFIXES.items(), ("", "")]
    for name, meant in CHINESE.items()
}
# Words with a second meaning: 20 pounds are a mass or money.
AMBIGUOUS = {"pound": "£", "pounds": "£"}
# Words that count without naming what is counted; they carry no dimension.
COUNTING = re.compile(
    r"(?:(?:square|sq|cubic)\.? )?units?(?:\^\{?[23]\}?| squared| cubed)?|sq|items?|things?|"
    r"pieces?|times|[个只条本张件名位人次种块支根辆棵朵头匹座间把双对组份颗页道题岁]"
)
DIVISOR = re.compile(r"/ ?\(([^()]*)\)")
THINGS = "things: "  # prefix of the dimension of counted things
SPELLED = re.compile("[A-Za-zμΩ]+(?:_[A-Za-z]+)*")  # names that pint may know
DEGREES = re.compile(r"(?:°|\bdeg(?:ree)?s?) ?([CF])\b")
SEVERAL_UNITS = re.compile(r"(?<=[a-z])-(?=[a-z])|(?<=[a-zA-Z])(?=°)")  # newton-meters, g°C
ABBREVIATED = re.compile(r"\b(sq|cu)\.? ")
SQUARED = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
FACTOR = re.compile(
    r"(?:(?P<before>square|sq|cubic|cu) )?(?P<name>[^\s\d^*/{}()-]+)"
    r"(?: ?\^ ?\{?(?P<power>-?\d)\}?|(?P<digit>[23])| (?P<after>squared|cubed))?"
)
THING = re.compile(r"[a-z][a-z']{2,}(?:[ -][a-z][a-z']+){0,3}")
CHINESE_THING = re.compile(
    r"[个只条本张件名位人块支根辆棵朵头匹座间把双组份颗]([\u4e00-\u9fff]{1,6})"
)
NO_THING = re.compile(
    r"\b(?:or|and|to|sqrt|times|theta|alpha|beta|gamma|pi|sin|cos|tan|log|ln|if|is|not|than|"
    r"about|but|wait|answer|option|point|minus|plus|over|between|from|until|billion|million|"
    r"thousand|hundred|trillion|dozen|am|pm|no)\b"
)
PROPER = re.compile("[A-Z][a-z]+ [A-Z][a-z]")
ADJECTIVES = re.compile(
    r" (?:long|wide|high|tall|deep|old|away|apart|each|altogether|in (?:total|all|length|area)|"
    r"of [a-z]+)$"
)


@functools.lru_cache(maxsize=10_000)
def unit(written: str) -> Unit | None:
    """Parse a unit: "cm", "km/h", "square feet", "N*m", "apples".

    Each kind of thing ("apples") has its own dimension. Counting words ("units", "items") have
    none.

    Returns:
        The unit, or None if the text is not a unit.
    """
    name = " ".join(written.split()).rstrip(".") or written
    name = DEGREES.sub(r"°\1", name).replace("每", "/")
    if not name or len(name) > LONGEST:
        return None
    if COUNTING.fullmatch(name.lower()):
        return Unit((), Fraction(1))
    plain = ABBREVIATED.sub(r"\1 ", ADJECTIVES.sub("", name)).replace(" per ", "/")
    plain = plain.replace("平方", "square ").replace("立方", "cubic ")
    plain = SEVERAL_UNITS.sub(" ", plain)
    found = _known(plain) or _product(plain)
    if found is None and plain != plain.lower() and len(plain) > 2:
        found = _known(plain.lower()) or _product(plain.lower())
    thing = ADJECTIVES.sub("", name.lower())
    if counted := CHINESE_THING.fullmatch(name):
        thing = counted[1]
    if found is None and (counted or THING.fullmatch(thing)) and not _is_name(name):
        found = Unit(((THINGS + thing.removesuffix("s"), Fraction(1)),), Fraction(1))
    return found


def _is_name(written: str) -> bool:
    """Return whether words are not a counted thing but a name (12 Main Street) or other words."""
    return bool(NO_THING.search(written.lower()) or PROPER.search(written))


def is_thing(one: Unit) -> bool:
    """Return whether a unit counts things, such as apples, rather than measures."""
    return bool(one.dimension) and one.dimension[0][0].startswith(THINGS)


def same_dimension(one: Unit, other: Unit) -> bool:
    """Return whether two units have the same dimension; ¥ is both yen and yuan."""
    if one.dimension == other.dimension:
        return True
    names = {name for name, _ in (*one.dimension, *other.dimension)}
    return names in ({"yen or yuan", "yen"}, {"yen or yuan", "yuan"})


def _known(name: str) -> Unit | None:
    """Look up a single unit by its name; None if it is unknown."""
    meant = NAMES.get(name)
    if isinstance(meant, tuple):
        return Unit(((meant[0], Fraction(1)),), meant[1])
    if meant is not None and meant != name:
        return _known(meant) or _product(meant)
    return _pints(name) if SPELLED.fullmatch(name) and name != "a" else None


def _pints(name: str) -> Unit | None:
    registry = load()
    parsed = registry.parse_unit_name(name)
    if not parsed:
        return None
    prefix, canonical, _ = parsed[0]
    if canonical not in KNOWN or prefix not in PREFIXES:
        return None
    if prefix in RARE and canonical not in ("meter", "liter", "gram", "pascal", "newton"):
        return None
    size, base = registry.get_root_units(name)
    dimension = sorted((base_name, Fraction(power)) for base_name, power in base._units.items())
    return Unit(tuple(dimension), Fraction(size))


@functools.cache
def load() -> Any:
    """Load pint's registry of units, which is slow the first time."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


def _product(name: str) -> Unit | None:
    """Parse products, quotients and powers of units: "kg*m/s^2", "square feet", "m s^{-1}"."""
    powers: dict[str, Fraction] = {}
    size = Fraction(1)
    for place, part in enumerate(DIVISOR.sub(r"/\1", name).split("/")):
        factors = list(FACTOR.finditer(part.strip()))
        if not factors or FACTOR.sub("", part).strip(" *"):
            return None
        for factor in factors:
            base = _known(factor["name"])
            if base is None:
                return None
            power = int(factor["power"] or factor["digit"] or 1)
            power *= SQUARED.get(factor["before"] or factor["after"] or "", 1)
            power *= -1 if place else 1
            size *= base.size**power
            for dimension, exponent in base.dimension:
                powers[dimension] = powers.get(dimension, Fraction(0)) + exponent * power
    return Unit(tuple(sorted((n, p) for n, p in powers.items() if p)), size)
