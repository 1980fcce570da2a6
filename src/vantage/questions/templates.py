"""Columns in a template: `{name}` stands for what a row has there, as `{question}` does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from vantage.errors import ConfigError, InputError, nearest
from vantage.questions.column_kinds import value_at
from vantage.questions.schema import IMAGE

# Of LaTeX, \\boxed{answer} and \\frac{a}{b} are no places; {{name}} writes {name}.
PLACE = re.compile(
    r"\\[A-Za-z]+(?:\{[^{}]*\})+|\{\{(?P<plain>[A-Za-z_][\w.]*)\}\}|\{(?P<name>[A-Za-z_][\w.]*)\}"
)
QUESTION = "question"
SECRET = ("answer",)  # what no prompt may show


def columns_in(template: str) -> list[str]:
    """Columns that a template names, without `{question}`."""
    found = (match["name"] for match in PLACE.finditer(template))
    return [name for name in found if name is not None and name != QUESTION]


def check_template(template: str, columns: Collection[str]) -> None:
    """Refuse a template that names what is no column.

    Raises:
        ConfigError: a name that is no column (names the nearest one), or the answer.
    """
    for name in columns_in(template):
        if name in SECRET:
            raise ConfigError(f"template: {{{name}}} would show the reference answer to the model")
        if name not in columns and name.partition(".")[0] not in columns:
            known = [QUESTION, *(column for column in columns if column not in SECRET)]
            raise ConfigError(
                f"template: {{{name}}} is no column; {nearest(name.partition('.')[0], known)} "
                f"(to write it as it is: {{{{{name}}}}})"
            )


def filled(template: str, row: Mapping[str, Any]) -> str:
    """The template with the values of a row; `{question}` stays.

    Raises:
        ConfigError: as `check_template`.
        InputError: a column that is empty in this row, or holds no text.
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
        raise InputError(f"column {name!r}: empty, and the template shows it")
    if not isinstance(value, str | int | float) or IMAGE in str(value):
        raise InputError(f"column {name!r}: expected a text for the template, got {value!r:.80}")
    return str(value)
