"""One table over models and benchmarks, yours and what papers published."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from vantage import files, terminal
from vantage.evaluation.benchmarks import BENCHMARKS
from vantage.evaluation.differences import Difference
from vantage.evaluation.differences import markdown as paired
from vantage.evaluation.naming import data, data_marks, model, model_names, written
from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.results import RULE, Result
from vantage.yaml_values import value_of

PUBLISHED = "published"
# What begins a formula in some spreadsheet, in its full width too.
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "%")  # noqa: RUF001


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
        way, name = letters[_way(result)], models[model(result)]
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
    known = dict.fromkeys(map(_way, results))
    return {way: _letter(number) for number, way in enumerate(known)}


def _way(result: Result) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in result.asked.items())


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"A{number}"


def heading(column: Column) -> str:
    """Of a column, for people."""
    known = BENCHMARKS.get(column.benchmark)
    title = (known.title if known else column.benchmark) + column.mark
    return title if column.measure == "accuracy" else f"{title} {column.measure}"


def cell(estimate: Estimate | None, own: bool) -> str:
    """A value in percent; of your own with half of its 95 % interval."""
    if estimate is None:
        return ""
    if not own:
        return f"{100 * estimate.mean:.1f}"
    return f"{100 * estimate.mean:.1f} ± {196 * estimate.error:.1f}"


def markdown(results: Sequence[Result]) -> str:
    """The table with what has to be known to read it."""
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
    notes = [*_notes(results), *_sources(rows)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in shown)
    return text + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def _notes(results: Sequence[Result]) -> Iterable[str]:
    yield "In percent: the mean over questions and samples, ± half of the 95 % interval."
    letters = ways(results)
    if len(letters) > 1:
        yield (
            "Rows with different letters were asked differently, so their difference is not that "
            "of the models alone; `--as RUN` asks as a run did."
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
        f"{result.cut} of {responses} responses cut off",
    ]
    if result.left_out:
        what = "responses" if result.scored == RULE else "responses or verdicts"
        told.append(
            f"{result.failed} {what} missing; {result.left_out} questions are left out for it"
        )
    return written("; ".join(told)) + "."


def _sources(rows: Iterable[Line]) -> Iterable[str]:
    for source in dict.fromkeys(row.source for row in rows if not row.own):
        yield f"{PUBLISHED}: {source}. Prompts and judges of papers differ from yours."


def comma_separated(results: Sequence[Result]) -> str:
    """A line for every value: model, scored, source, benchmark, measure, percent, interval, way."""
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
            writer.writerow([*map(_no_formula, place), *values, letters[_way(result)]])
    _, rows = lines(results)
    for row in (row for row in rows if not row.own):
        for column, value in row.cells.items():
            place = [row.model, row.scored, row.source, column.benchmark + column.mark]
            percent = f"{100 * value.mean:.3f}"
            writer.writerow([*map(_no_formula, [*place, column.measure]), percent, "", "", ""])
    return stream.getvalue()


def _no_formula(text: str) -> str:
    """A text that no spreadsheet computes, on one line."""
    told = terminal.line(text)
    return f"'{told}" if told.lstrip().startswith(FORMULAS) else told


def write(folder: Path, results: Sequence[Result], between: Sequence[Difference]) -> list[Path]:
    """table.md, table.csv and, where matplotlib is there, table.png; the files written."""
    written = [folder / "table.md", folder / "table.csv"]
    text = markdown(results)
    if between:
        text += "\nDifferences in points, on the questions that both answered:\n\n" + paired(
            between
        )
    files.write(written[0], text.encode())
    files.write(written[1], comma_separated(results).encode())
    if importlib.util.find_spec("matplotlib"):
        from vantage.evaluation.figure import draw

        written.append(folder / "table.png")
        with files.whole(written[-1]) as unfinished:
            draw(*lines(results), unfinished)
    return written
