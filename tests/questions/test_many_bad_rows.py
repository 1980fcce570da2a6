"""If the first rows of a large data set are all bad, the rest is not checked."""

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
    """Treat more than four rows as many, and check the first two."""
    for module in (faults, table):
        monkeypatch.setattr(module, "MANY", 4)
        monkeypatch.setattr(module, "FIRST", 2)


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_all_bad_rows_are_rejected_after_the_first(tmp_path):
    data = written(tmp_path, [BAD] * 5)
    with pytest.raises(InputError, match=r"2 rows cannot be used(.|\n)*rest of the 5 rows was not"):
        loading.survey(data, split="train")
    with pytest.raises(InputError, match="none of its first 2 rows has a question"):
        table.open_table(data, "train", Columns(), tmp_path / "out.parquet")


@pytest.mark.parametrize("rows", [[BAD] * 4, [BAD, GOOD, BAD, BAD, BAD], [GOOD] * 6])
def test_few_rows_or_some_good_ones_are_all_checked(rows, tmp_path):
    data = written(tmp_path, rows)
    found = loading.survey(data, split="train")
    assert {fault.row for fault in found.faults} == {n for n, row in enumerate(rows) if row is BAD}
    opened = table.open_table(data, "train", Columns(), tmp_path / "out.parquet")
    assert len(list(opened.items(with_pictures=False))) == len(rows)


def test_unencodable_text_is_reported_before_any_request(tmp_path):
    data = written(tmp_path, [GOOD, {"question": "a\ud800?", "answer": "1"}])
    with pytest.raises(InputError, match=r"row 1, column 'question': not UTF-8 at character 1"):
        table.open_table(data, "train", Columns(), tmp_path / "out.parquet")
    calls = [{"role": "user", "content": "a?", "tool_calls": [{}]}]
    data = written(tmp_path, [{"messages": calls, "answer": "1"}])
    with pytest.raises(InputError, match="column 'messages' cannot be written as parquet"):
        table.open_table(data, "train", Columns(), tmp_path / "out.parquet")
