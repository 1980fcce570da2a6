"""The columns and rows of the table: your results, and figures that papers published."""

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
    """A measure of a benchmark; `mark` tells sets of questions of one name apart."""

    benchmark: str
    measure: str
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        model: its name.
        scored: how; for published figures what is known of it.
        source: the paper, empty for your own.
        asked: a letter for how; empty for published figures.
        cells: by column; a published figure has no interval.
    """

    model: str
    scored: str
    source: str
    asked: str
    cells: dict[Column, Estimate]

    @property
    def own(self) -> bool:
        """Whether it is yours."""
        return not self.source


def published() -> list[Line]:
    """The figures that papers published."""
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
    """The columns and rows of the table: your results, and published ones they compare with."""
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
    """Published figures in the columns of their benchmarks."""
    known = {column: line.cells.get(column._replace(mark="")) for column in columns}
    return {column: value for column, value in known.items() if value is not None}


def ways(results: Sequence[Result]) -> dict[str, str]:
    """A letter for each way in which models were asked, by the way in words."""
    known = dict.fromkeys(map(way_of, results))
    return {way: _letter(number) for number, way in enumerate(known)}


def way_of(result: Result) -> str:
    """How a result was asked, in words."""
    return ", ".join(f"{name} {value!r}" for name, value in result.asked.items())


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"A{number}"


def heading(column: Column) -> str:
    """Of a column, for people."""
    known = BENCHMARKS.get(column.benchmark)
    title = (known.title if known else column.benchmark) + column.mark
    return title if column.measure == "accuracy" else f"{title} {column.measure}"
