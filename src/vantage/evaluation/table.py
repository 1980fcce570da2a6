"""The table of models and benchmarks: your results and published figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import NamedTuple

from vantage import terminal
from vantage.evaluation.benchmarks import BENCHMARKS
from vantage.evaluation.naming import data, data_marks, model, model_names, written
from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.results import RULE, Result
from vantage.yaml_values import value_of

PUBLISHED = "published"
# First characters of spreadsheet formulas, and their full-width forms.
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "%")  # noqa: RUF001


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
    shown = (Column(one.benchmark, name, marks[data(one)]) for one in results for name in one.shown)
    columns = list(dict.fromkeys(shown))
    letters = ways(results)
    yours: dict[tuple[str, ...], Line] = {}
    for result in results:
        way, name = letters[way_of(result)], models[model(result)]
        key = (name, result.scored, str(result.judge), way)
        line = yours.setdefault(key, Line(name, result.scored, "", way, {}))
        for measure in result.shown:
            if measure in result.measures:
                column = Column(result.benchmark, measure, marks[data(result)])
                line.cells[column] = result.measures[measure]
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


def cell(estimate: Estimate | None, own: bool) -> str:
    """Format a value in percent; your own with ± half the width of its 95 % interval."""
    if estimate is None:
        return ""
    if not own:
        return f"{100 * estimate.mean:.1f}"
    return f"{100 * estimate.mean:.1f} ± {196 * estimate.error:.1f}"


def markdown(results: Sequence[Result]) -> str:
    """Write the table and its notes as Markdown."""
    columns, rows = lines(results)
    head = ["model", "scored by", "asked", *(written(heading(column)) for column in columns)]
    body = [
        [
            written(row.model) if row.own else f"{written(row.model)} ({PUBLISHED})",
            written(row.scored),
            row.asked,
            *(cell(row.cells.get(column), row.own) for column in columns),
        ]
        for row in rows
    ]
    shown = [head, ["---"] * len(head), *body]
    sources = dict.fromkeys(row.source for row in rows if not row.own)
    notes = [
        *_notes(results),
        *(f"{PUBLISHED}: {one}. Its prompts and judges differ from yours." for one in sources),
    ]
    text = "\n".join("| " + " | ".join(line) + " |" for line in shown)
    return text + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def _notes(results: Sequence[Result]) -> Iterable[str]:
    yield "In percent: the mean over questions and samples, ± half the width of the 95 % interval."
    letters = ways(results)
    if len(letters) > 1:
        yield (
            "Rows with different letters were asked differently, so they differ in more than the "
            "model; `--as RUN` asks in the same way as a run."
        )
    for way, letter in letters.items():
        yield f"Asked {letter}: {written(way)}."
    for scored, judge in {one.scored: one.judge for one in results if one.judge}.items():
        settings = ", ".join(f"{name} {value}" for name, value in judge.items())
        yield f"{written(scored)}: {written(settings)}."
    models, marks = model_names(results), data_marks(results)
    for result in results:
        yield _told(result, models[model(result)], marks[data(result)])


def _told(result: Result, name: str, mark: str) -> str:
    by = "" if result.scored == RULE else f", {result.scored}"
    responses = result.questions * result.samples
    told = [
        f"{name}, {result.title}{mark}{by}: {result.questions} questions, {result.samples} samples",
        *([f"questions of {result.origin['data']}"] if mark else []),
        *([f"server {result.origin['server']}"] if "server" in result.origin else []),
        f"{result.cut} of {responses} responses truncated",
    ]
    if result.left_out:
        what = "responses" if result.scored == RULE else "responses or verdicts"
        told.append(f"{result.failed} {what} missing, which excludes {result.left_out} questions")
    return written("; ".join(told)) + "."


def comma_separated(results: Sequence[Result]) -> str:
    """Write the table as CSV, with a line for every value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    told = ["model", "scored", "source", "benchmark", "measure", "percent", "low", "high", "asked"]
    writer.writerow(told)
    models, marks, letters = model_names(results), data_marks(results), ways(results)
    for result in results:
        for name, one in result.measures.items():
            benchmark = result.benchmark + marks[data(result)]
            place = [models[model(result)], result.scored, "", benchmark, name]
            values = [f"{100 * v:.3f}" for v in (one.mean, *one.interval)]
            writer.writerow([*map(_no_formula, place), *values, letters[way_of(result)]])
    _, rows = lines(results)
    for row in (row for row in rows if not row.own):
        for column, value in row.cells.items():
            place = [row.model, row.scored, row.source, column.benchmark + column.mark]
            percent = f"{100 * value.mean:.3f}"
            writer.writerow([*map(_no_formula, [*place, column.measure]), percent, "", "", ""])
    return stream.getvalue()


def _no_formula(text: str) -> str:
    """Escape a text so that no spreadsheet evaluates it, on one line."""
    told = terminal.line(text)
    return f"'{told}" if told.lstrip().startswith(FORMULAS) else told
