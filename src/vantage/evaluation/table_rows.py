"""Columns and rows of the table: your results and published figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import NamedTuple

from vantage.evaluation.benchmarks import BENCHMARKS
from vantage.evaluation.naming import data, data_marks, model, model_names
from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.results import Result
from vantage.yaml_values import value_of

PUBLISHED = "published"


class Column(NamedTuple):
    """A measure of a benchmark; `mark` distinguishes sets of questions with the same name."""

    benchmark: str
    measure: str
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        model: Name of the model.
        scored: How answers are scored; for published figures, as far as it is known.
        source: The paper; empty for your results.
        asked: Letter of the way in which questions are asked; empty for published figures.
        cells: Values by column; published figures have no interval.
    """

    model: str
    scored: str
    source: str
    asked: str
    cells: dict[Column, Estimate]

    @property
    def own(self) -> bool:
        """Whether the row is your result rather than a published figure."""
        return not self.source


def published() -> list[Line]:
    """Read the published figures from `published.yaml`."""
    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    return [
        Line(
            row["model"],
            row["scored"],
            row["source"],
            "",
            {_column(name): Estimate(value / 100, 0.0) for name, value in row["values"].items()},
        )
        for row in value_of(text, "published.yaml")
    ]


def _column(name: str) -> Column:
    benchmark, _, measure = name.partition("/")
    return Column(benchmark, measure or BENCHMARKS[benchmark].shown[0])


def lines(results: Sequence[Result]) -> tuple[list[Column], list[Line]]:
    """Return the columns and rows of the table: your results and comparable published figures."""
    models, marks = model_names(results), data_marks(results)
    columns = list(
        dict.fromkeys(
            Column(one.benchmark, name, marks[data(one)]) for one in results for name in one.shown
        )
    )
    letters = ways(results)
    yours: dict[tuple[str, ...], Line] = {}
    for result in results:
        way, name = letters[way_of(result)], models[model(result)]
        key = (name, result.scored, str(result.judge), way)
        line = yours.setdefault(key, Line(name, result.scored, "", way, {}))
        for shown in result.shown:
            if shown in result.measures:
                column = Column(result.benchmark, shown, marks[data(result)])
                line.cells[column] = result.measures[shown]
    others = [replace(line, cells=_beside(line, columns)) for line in published()]
    return columns, [*yours.values(), *(line for line in others if line.cells)]


def _beside(line: Line, columns: Sequence[Column]) -> dict[Column, Estimate]:
    """Return the published figures of a row in the columns of their benchmarks."""
    known = {column: line.cells.get(column._replace(mark="")) for column in columns}
    return {column: value for column, value in known.items() if value is not None}


def ways(results: Sequence[Result]) -> dict[str, str]:
    """Assign a letter to each way of asking, as described by `way_of`."""
    known = dict.fromkeys(map(way_of, results))
    return {way: _letter(number) for number, way in enumerate(known)}


def way_of(result: Result) -> str:
    """Describe how the questions of a result were asked."""
    return ", ".join(f"{name} {value!r}" for name, value in result.asked.items())


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"A{number}"


def heading(column: Column) -> str:
    """Return the heading of a column."""
    known = BENCHMARKS.get(column.benchmark)
    title = (known.title if known else column.benchmark) + column.mark
    return title if column.measure == "accuracy" else f"{title} {column.measure}"
