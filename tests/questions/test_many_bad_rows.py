"""A small file can hold very many rows: where the first are all bad, the others are left."""

import json

import pytest

from vantage.errors import InputError
from vantage.questions import faults, loading
from vantage.questions.layouts import Columns
from vantage.rewriting import table

GOOD = {"question": "Why?", "answer": "1"}
BAD = {"question": "", "answer": "1"}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """More than four rows are many, and two of them are the first."""
    for module in (faults, table):
        monkeypatch.setattr(module, "MANY", 4)
        monkeypatch.setattr(module, "FIRST", 2)


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_nothing_but_bad_rows_is_refused_after_the_first(tmp_path):
    data = written(tmp_path, [BAD] * 5)
    with pytest.raises(InputError, match=r"2 rows cannot be used(.|\n)*others of 5 rows were not"):
        loading.survey(data, split="train")
    with pytest.raises(InputError, match="none of its first 2 rows has a question"):
        table.open_table(data, "train", Columns(), tmp_path / "out.parquet")


@pytest.mark.parametrize("rows", [[BAD] * 4, [BAD, GOOD, BAD, BAD, BAD], [GOOD] * 6])
def test_few_bad_rows_or_some_good_ones_are_looked_at_one_by_one(rows, tmp_path):
    data = written(tmp_path, rows)
    found = loading.survey(data, split="train")
    assert {fault.row for fault in found.faults} == {n for n, row in enumerate(rows) if row is BAD}
    opened = table.open_table(data, "train", Columns(), tmp_path / "out.parquet")
    assert len(list(opened.items(with_pictures=False))) == len(rows)


def test_text_that_parquet_cannot_hold_is_told_by_row_before_anything_is_asked(tmp_path):
    data = written(tmp_path, [GOOD, {"question": "a\ud800?", "answer": "1"}])
    with pytest.raises(InputError, match=r"row 1, column 'question': not UTF-8 at character 1"):
        table.open_table(data, "train", Columns(), tmp_path / "out.parquet")
    calls = [{"role": "user", "content": "a?", "tool_calls": [{}]}]
    data = written(tmp_path, [{"messages": calls, "answer": "1"}])
    with pytest.raises(InputError, match="column 'messages' cannot be written as parquet"):
        table.open_table(data, "train", Columns(), tmp_path / "out.parquet")
