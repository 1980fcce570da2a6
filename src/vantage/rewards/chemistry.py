r"""Canonical spelling of chemical formulas: H_2O, \ce{Fe^3+}, 2H2 + O2."""

from __future__ import annotations

import re

CHARGED = re.compile(
    r"((?:[A-Z][a-z]?(?:_?\{?\d{1,3}\}?)?)+)\^ ?\{?(\d?[+-])\}?"  # Fe^{3+}
    r"|([A-Z][a-z]?)(\d?[+-])|((?:[A-Z][a-z]?\d?){2,})(\d?[+-])"  # Fe3+, SO42-, NH4+
)
REACTANT = re.compile(r"(\d*) ?((?:\(?[A-Z][a-z]?\)?(?:_?\{?\d{1,3}\}?)?)+)")

ESCAPING = re.compile(r" ?(?:[↑↓]|\\(?:up|down)arrow)")  # marks a gas or a precipitate


def chemical(text: str) -> str | None:
    """Return a formula, ion or side of a reaction in canonical spelling; None for other texts."""
    text = ESCAPING.sub("", text)
    if ion := CHARGED.fullmatch(text):
        formula, charge = (part for part in ion.groups() if part)
        return f"{_formula(formula)}^{charge}"
    found = [REACTANT.fullmatch(part.strip()) for part in text.split("+")]
    if not any(map(str.isdigit, text)) or not any(map(str.isupper, text)):
        return None
    terms = [one[1] + _formula(one[2]) for one in found if one]
    return "+".join(sorted(terms)) if len(terms) == len(found) else None


def _formula(written: str) -> str:
    return re.sub(r"[ _{}]", "", written)
