"""The table of models and benchmarks, and the published figures in it."""

from dataclasses import replace

import pytest

from vantage.evaluation.benchmarks import BENCHMARKS
from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.results import Result, read_all, write
from vantage.evaluation.table import comma_separated, lines, markdown, published


def result(model, benchmark, measures, judge=None, *, heat=0.5, **more):
    known = BENCHMARKS.get(benchmark)
    shown = known.shown if known else ("accuracy",)
    title = known.title if known else benchmark
    found = {name: Estimate(*value) for name, value in measures.items()}
    origin = {"model": model, "data": "d", "questions": "0123456789"}
    how = {"template": "{question} |", "temperature": heat}
    told = Result(model, benchmark, title, judge or {}, 10, 8, 3, 0, 0, origin, how, shown, found)
    return replace(told, **more)


GPT = {"model": "gpt", "server": "http://x", "temperature": 0.0, "wording": "ab"}
ONE = result("mine", "wemath", {"accuracy": (0.5, 0.01), "strict": (0.25, 0.02), "loose": (0.4, 0)})
TWO = result("mine", "own", {"accuracy": (0.125, 0.01)})
JUDGED = result("mine", "wemath", {"accuracy": (0.75, 0.01)}, GPT)


def test_published_figures_belong_to_existing_measures():
    for line in published():
        assert line.source
        assert "https://" in line.source
        for column in line.cells:
            benchmark = BENCHMARKS[column.benchmark]
            assert column.measure in benchmark.shown
            assert 0 < line.cells[column].mean < 1


def test_the_papers_tables_by_hand():
    found = {
        (line.model, column.benchmark): round(100 * value.mean, 2)
        for line in published()
        for column, value in line.cells.items()
    }
    assert found["Shuffle-R1-7B", "mathvista"] == 77.0
    assert found["Shuffle-R1-3B", "hallusionbench"] == 69.2
    assert found["R1-ShareVL-7B", "mathverse"] == 52.8
    assert found["Shuffle-R1 3B on Geometry3K", "geometry3k"] == 47.88
    assert found["Qwen2.5-VL-7B", "geometry3k"] == 38.12
    assert len(found) == 10 + 18 + 3


def test_the_table_by_hand():
    text = markdown([ONE, JUDGED, TWO]).splitlines()
    assert text[:5] == [
        "| model | scored by | asked | We-Math | We-Math strict | We-Math loose | own |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| mine | rule | A | 50.0 ± 2.0 | 25.0 ± 3.9 | 40.0 ± 0.0 | 12.5 ± 2.0 |",
        "| mine | judge gpt at http://x | A | 75.0 ± 2.0 |  |  |  |",
        "| Qwen2.5-VL-7B (published) | LLM judge; HallusionBench by rule |  | 63.5 |  |  |  |",
    ]
    assert "- mine, own: 10 questions, 8 samples; 3 of 80 responses truncated." in text
    assert "- Asked A: template '{question} \\|', temperature 0.5." in text
    assert not any("different letters" in line for line in text)


def test_rows_asked_differently_are_marked():
    text = markdown([ONE, result("other", "wemath", {"accuracy": (0.5, 0)}, heat=1.0)])
    assert "| mine | rule | A | 50.0" in text
    assert "| other | rule | B | 50.0" in text
    assert "Rows with different letters were asked differently" in text
    assert "- Asked B: template '{question} \\|', temperature 1.0." in text.splitlines()


def test_only_comparable_published_figures_are_shown():
    _, rows = lines([TWO])
    assert [row.model for row in rows] == ["mine"]


def test_the_csv_file_has_every_measure():
    rows = comma_separated([ONE]).splitlines()
    assert rows[1] == "mine,rule,,wemath,accuracy,50.000,48.040,51.960,A"
    assert rows[2] == "mine,rule,,wemath,strict,25.000,21.080,28.920,A"
    assert len([row for row in rows if "2508.05612" in row]) == 3


def test_results_are_read_back_unchanged_in_order_of_the_benchmarks(tmp_path):
    for folder, name, found in (("a", "x", TWO), ("b", "x", ONE), ("b", "y", JUDGED)):
        (tmp_path / folder).mkdir(exist_ok=True)
        write(tmp_path / folder / f"{name}.json", found)
    assert read_all(tmp_path) == [ONE, JUDGED, TWO]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_figure_with_any_number_of_panels(tmp_path, count):
    from vantage.evaluation.figure import draw

    found = [result("m$x_y", f"own{n}", {"accuracy": (0.5, 0.1)}) for n in range(count)]
    draw(*lines(found), tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 1000
