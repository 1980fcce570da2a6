"""Columns in a template: `{name}` is replaced with the row's value, like `{question}`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from vantage.errors import ConfigError, InputError, nearest
from vantage.questions.column_kinds import value_at
from vantage.questions.schema import IMAGE

# LaTeX such as \\boxed{answer} and \\frac{a}{b} is kept as it is; {{name}} gives {name}.
PLACE = re.compile(
    r"\\[A-Za-z]+(?:\{[^{}]*\})+|\{\{(?P<plain>[A-Za-z_][\w.]*)\}\}|\{(?P<name>[A-Za-z_][\w.]*)\}"
)
QUESTION = "question"
SECRET = ("answer",)  # columns that no prompt may show


def check_template(template: str, columns: Collection[str]) -> None:
    """Reject a template that names an unknown column.

    Raises:
        ConfigError: An unknown column (suggests the nearest name), or the answer.
    """
    for match in PLACE.finditer(template):
        name = match["name"]
        if name is None or name == QUESTION:
            continue
        if name in SECRET:
            raise ConfigError(f"template: {{{name}}} would show the reference answer to the model")
        if name not in columns and name.partition(".")[0] not in columns:
            known = [QUESTION, *(column for column in columns if column not in SECRET)]
            raise ConfigError(
                f"template: {{{name}}} is not a column; {nearest(name.partition('.')[0], known)} "
                f"(to keep the braces as text: {{{{{name}}}}})"
            )


def filled(template: str, row: Mapping[str, Any]) -> str:
    """Fill a template with the values of a row, except `{question}`.

    Raises:
        ConfigError: See `check_template`.
        InputError: A column is empty in this row or does not hold a text.
    """
    check_template(template, row)

    def value(match: re.Match[str]) -> str:
        if match["plain"] is not None:
            return f"{{{match['plain']}}}" if match["plain"] != QUESTION else match[0]
        if match["name"] is None or match["name"] == QUESTION:
            return match[0]
        return _text(match["name"], value_at(row, match["name"]))

    return PLACE.sub(value, template)


def _text(name: str, value: Any) -> str:
    if value is None or value == "":
        raise InputError(f"column {name!r}: empty, but the template needs it")
    if not isinstance(value, str | int | float) or IMAGE in str(value):
        raise InputError(f"column {name!r}: expected a text for the template, got {value!r:.80}")
    return str(value)
