"""Data sets as people have them become rows that can be trained."""

import io
import json

import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from vantage.errors import InputError
from vantage.questions.loading import load
from vantage.questions.schema import read

ROWS = {"prompt": ["2 + 2?", "3 + 3?"], "answer": ["4", "6"]}


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (3, 2), colour)


def encoded(colour: str) -> bytes:
    stream = io.BytesIO()
    picture(colour).save(stream, "png")
    return stream.getvalue()


def opened(source, **columns) -> Dataset:
    columns = {"split": "train", "question": "prompt", "answer": "answer", **columns}
    return load(str(source), **columns)


def write(path, rows: dict):
    data = Dataset.from_dict(rows)
    if path.suffix == ".parquet":
        data.to_parquet(str(path))
    elif path.suffix == ".csv":
        data.to_csv(str(path))
    elif path.suffix == ".jsonl":
        data.to_json(str(path))
    else:
        path.write_text(json.dumps(data.to_list()))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".json"])
def test_a_file_of_any_kind_gives_conversations_and_answers(ending, tmp_path):
    rows = opened(write(tmp_path / f"rows{ending}", ROWS))
    assert [read(row).text for row in rows] == ROWS["prompt"]
    assert rows[0]["prompt"] == [{"role": "user", "content": "2 + 2?"}]
    assert [str(answer) for answer in rows["answer"]] == ROWS["answer"]


def test_columns_may_have_other_names_and_the_rest_stays(tmp_path):
    named = {"problem": ["A?"], "solution": ["b"], "prompt": ["old"], "hint": ["c"]}
    rows = opened(write(tmp_path / "rows.parquet", named), question="problem", answer="solution")
    assert sorted(rows.column_names) == ["answer", "hint", "prompt"]
    assert (read(rows[0]).text, rows[0]["answer"], rows[0]["hint"]) == ("A?", "b", "c")


def test_pictures_come_as_bytes_or_as_paths_next_to_the_file(tmp_path):
    (tmp_path / "pictures").mkdir()
    picture("red").save(tmp_path / "pictures" / "red.png")
    as_path = {**ROWS, "photo": ["pictures/red.png", None]}
    as_bytes = {**ROWS, "photo": [{"bytes": encoded("red"), "path": None}, None]}
    plain = {**ROWS, "photo": [encoded("red"), None]}
    located = {**ROWS, "photo": [{"bytes": None, "path": "pictures/red.png"}, None]}
    kinds = {"path": as_path, "bytes": as_bytes, "plain": plain, "located": located}
    for name, rows in kinds.items():
        read_in = opened(write(tmp_path / f"{name}.parquet", rows), image="photo")
        first, second = (read(row) for row in read_in)
        assert first.images[0].convert("RGB").tobytes() == picture("red").tobytes()
        assert second.images == ()


def test_several_pictures_a_row_come_in_order(tmp_path):
    pictures = [[{"bytes": encoded(c), "path": None} for c in ("red", "blue")], []]
    rows = opened(write(tmp_path / "rows.parquet", {**ROWS, "views": pictures}), images="views")
    first, second = (read(row) for row in rows)
    assert [i.getpixel((0, 0)) for i in first.images] == [(255, 0, 0), (0, 0, 255)]
    assert second.images == ()


def test_a_saved_data_set_is_read_by_its_split(tmp_path):
    splits = {"train": Dataset.from_dict(ROWS), "test": Dataset.from_dict(ROWS).select([1])}
    DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert len(opened(tmp_path / "saved", split="test")) == 1
    with pytest.raises(InputError, match=r"no split 'tset'; did you mean 'test'"):
        opened(tmp_path / "saved", split="tset")


NO_PICTURES = {**ROWS, "n": [1, 2], "one": [{"bytes": encoded("red"), "path": None}] * 2}

BAD = [
    ("rows.parquet", NO_PICTURES, {"image": "n"}, "column 'n' does not hold a picture a row"),
    ("rows.parquet", NO_PICTURES, {"images": "one"}, "column 'one' does not hold a list of pict"),
    ("rows.parquet", ROWS, {"question": "promt"}, "no column 'promt'; did you mean 'prompt'"),
    ("rows.parquet", ROWS, {"image": "image"}, "no column 'image'"),
    ("rows.jsonl", {**ROWS, "answer": ["4", " "]}, {}, "column 'answer' is empty in row 1"),
    ("rows.jsonl", {**ROWS, "answer": [None, "6"]}, {}, "column 'answer' is empty in row 0"),
]


@pytest.mark.parametrize(("name", "rows", "columns", "words"), BAD, ids=[b[3] for b in BAD])
def test_data_that_cannot_be_trained_is_refused_by_name(name, rows, columns, words, tmp_path):
    path = write(tmp_path / name, rows)
    with pytest.raises(InputError) as caught:
        opened(path, **columns)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.parquet", None, "no such file"),
        ("rows.txt", "2 + 2", "expected a file ending in .parquet"),
        ("broken.parquet", "no parquet", "cannot be read as a data set"),
        ("broken.json", "{", "cannot be read as a data set"),
    ],
)
def test_a_file_that_is_no_data_set_is_refused(name, content, words, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        opened(tmp_path / name)
