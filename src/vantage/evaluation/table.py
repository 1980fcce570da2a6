"""The table of models and benchmarks: your results and published figures."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from vantage import files, terminal
from vantage.evaluation.differences import Difference
from vantage.evaluation.differences import markdown as paired
from vantage.evaluation.naming import data, data_marks, model, model_names, written
from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.results import RULE, Result
from vantage.evaluation.table_rows import PUBLISHED, Line, heading, lines, way_of, ways

# First characters of spreadsheet formulas, and their full-width forms.
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "%")  # noqa: RUF001


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
    notes = [*_notes(results), *_sources(rows)]
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


def _sources(rows: Iterable[Line]) -> Iterable[str]:
    for source in dict.fromkeys(row.source for row in rows if not row.own):
        yield f"{PUBLISHED}: {source}. Its prompts and judges differ from yours."


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


def write(folder: Path, results: Sequence[Result], between: Sequence[Difference]) -> list[Path]:
    """Write table.md, table.csv and, if matplotlib is installed, table.png; return the files."""
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
