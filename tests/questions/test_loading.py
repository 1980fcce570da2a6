"""Data sets of every format are loaded as training rows."""

import csv
import io
import json
import logging
import os
import struct

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets import Image as Stored
from PIL import Image

from vantage.errors import InputError
from vantage.questions import loading
from vantage.questions.layouts import Columns
from vantage.questions.loading import load, survey
from vantage.questions.parallel import over_rows
from vantage.questions.reading import Reader
from vantage.questions.schema import read, render
from vantage.questions.variants import Variants

ROWS = {"prompt": ["2 + 2?", "3 + 3?"], "answer": ["4", "6"]}
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (3, 2), colour)


def encoded(colour: str) -> bytes:
    stream = io.BytesIO()
    picture(colour).save(stream, "png")
    return stream.getvalue()


def stored(colour: str) -> dict:
    return {"bytes": encoded(colour), "path": None}


def colours(row: dict) -> list[str]:
    """Names of the colours of a row's images."""
    names = {value: name for name, value in COLOURS.items()}
    return [names[image.open().getpixel((0, 0))] for image in read(row).images]


def opened(source, **options) -> Dataset:
    return load(str(source), **{"split": "train", **options})


def write(path, rows: dict, features: Features | None = None):
    data = Dataset.from_dict(rows, features)
    lines = data.to_list() if path.suffix != ".parquet" else []
    if path.suffix == ".parquet":
        data.to_parquet(str(path))
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            by = {".csv": ",", ".tsv": "\t"}[path.suffix]
            table = csv.DictWriter(file, list(rows), delimiter=by)
            table.writeheader()
            table.writerows(lines)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        path.write_text(json.dumps(lines))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl", ".json"])
def test_every_file_format_gives_conversations_and_answers(ending, tmp_path):
    rows = opened(write(tmp_path / f"rows{ending}", ROWS))
    assert [read(row).text for row in rows] == ROWS["prompt"]
    assert rows[0]["prompt"] == [{"role": "user", "content": "2 + 2?"}]
    assert rows["answer"][:] == ROWS["answer"]


TEXTS = {
    "rows in an object": (
        "rows.json",
        '{"about": "sums", "data": [{"prompt": "a?", "answer": 1}]}',
    ),
    "a mark of UTF-8 before JSON": ("rows.json", '\ufeff[{"prompt": "a?", "answer": 1}]'),
    "a mark of UTF-8 before lines": ("rows.jsonl", '\ufeff{"prompt": "a?", "answer": 1}'),
    "a mark of UTF-8 before CSV": ("rows.csv", "\ufeffprompt,answer\na?,1\n"),
    "empty lines": ("rows.jsonl", '\n{"prompt": "a?", "answer": 1}\r\n\n'),
    "empty lines in CSV": ("rows.csv", "prompt,answer\r\n\r\na?,1\r\n\r\n"),
    "a column of numbers without a name": ("rows.csv", ",prompt,answer\n0,a?,1\n"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_files_of_every_style_are_read(name, tmp_path):
    ending, content = TEXTS[name]
    (tmp_path / ending).write_text(content, encoding="utf-8")
    (row,) = opened(tmp_path / ending)
    assert (read(row).text, row["answer"]) == ("a?", "1")


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_separators_quotes_and_line_ends_inside_a_value_are_kept(ending, tmp_path):
    texts = ['a,\t "b"\nand c?', "d?"]
    rows = opened(write(tmp_path / f"rows{ending}", {"prompt": texts, "answer": ["1", "2"]}))
    assert [read(row).text for row in rows] == texts


def test_a_split_of_a_saved_data_set_is_read(tmp_path):
    splits = {"train": Dataset.from_dict(ROWS), "test": Dataset.from_dict(ROWS).select([1])}
    DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert opened(tmp_path / "saved", split="test")["answer"][:] == ["6"]
    with pytest.raises(InputError, match=r"no split 'tset'; did you mean 'test'"):
        opened(tmp_path / "saved", split="tset")


def test_a_saved_data_set_may_have_a_format(tmp_path):
    rows = Dataset.from_dict({**ROWS, "image": [stored("red"), None], "level": [1, 2]})
    rows.with_format("numpy").save_to_disk(str(tmp_path / "saved"))
    loaded = opened(tmp_path / "saved")
    assert loaded["level"][:] == [1, 2] and type(loaded[0]["level"]) is int
    assert [colours(row) for row in loaded] == [["red"], []]


def test_shards_of_a_directory_are_read_in_order(tmp_path):
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for shard in (0, 1):
        rows = {**ROWS, "answer": [f"{shard}a", f"{shard}b"], "image": [stored("red"), None]}
        write(tmp_path / "hub" / "data" / f"train-0000{shard}-of-00002.parquet", rows)
    write(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet", {**ROWS, "image": [None] * 2})
    rows = opened(tmp_path / "hub")
    assert rows["answer"][:] == ["0a", "0b", "1a", "1b"]
    assert [colours(row) for row in rows] == [["red"], [], ["red"], []]
    assert len(opened(tmp_path / "hub", split="test")) == 2


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("split", ["", "train"])
def test_an_image_directory_is_read_by_its_metadata(split, ending, tmp_path):
    folder = tmp_path / "pictures" / split
    folder.mkdir(parents=True)
    picture("blue").save(folder / "a.png")
    table = {"file_name": ["a.png", None], "text": ["Which colour?", "1 + 1?"], "label": ["b", "2"]}
    write(folder / f"metadata{ending}", table)
    rows = opened(tmp_path / "pictures")
    assert [colours(row) for row in rows] == [["blue"], []]
    assert rows["answer"][:] == ["b", "2"]


def test_a_directory_with_brackets_in_its_name_is_read(tmp_path):
    (tmp_path / "run [1] *").mkdir()
    assert len(opened(write(tmp_path / "run [1] *" / "rows.parquet", ROWS))) == 2


ONE = {
    "a struct": (stored("red"), None),
    "bytes": (encoded("red"), Value("binary")),
    "large bytes": (encoded("red"), Value("large_binary")),
    "a path": ("pictures/red.png", None),
    "a path in a struct": ({"bytes": None, "path": "pictures/red.png"}, None),
    "an image": (picture("red"), Stored()),
    "bytes and the name they had": ({"bytes": encoded("red"), "path": "/gone/red.png"}, None),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("kind", ["image", "images"])
def test_images_are_read_from_every_storage_form(kind, name, tmp_path):
    (tmp_path / "pictures").mkdir()
    picture("red").save(tmp_path / "pictures" / "red.png")
    value, feature = ONE[name]
    values = [value, None] if kind == "image" else [[value, value], []]
    features = None
    if feature is not None:
        held = feature if kind == "image" else List(feature)
        features = Features({"prompt": Value("string"), "answer": Value("string"), "photo": held})
    path = write(tmp_path / "rows.parquet", {**ROWS, "photo": values}, features)
    rows = opened(path, columns=Columns(**{kind: "photo"}))
    assert [colours(row) for row in rows] == [["red"] * (1 + (kind == "images")), []]
    assert rows.column_names == ["prompt", "answer", kind]


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_images_are_scaled_and_not_clipped(order, tmp_path):
    entries = [(256, 3), (257, 1), (258, 16), (259, 1), (262, 1), (273, 110), (278, 1), (279, 6)]
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    for tag, value in entries:
        head += struct.pack(f"{order}HHII", tag, 4, 1, value)
    pixels = struct.pack(f"{order}I3H", 0, 0, 0x8080, 0xFFFF)
    (tmp_path / "a.tiff").write_bytes(head + pixels)
    path = write(tmp_path / "rows.jsonl", {**ROWS, "image": ["a.tiff", None]})
    (image,) = read(opened(path)[0]).images
    assert [image.open().getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_several_images_per_row_keep_their_order(ending, tmp_path):
    for colour in COLOURS:
        picture(colour).save(tmp_path / f"{colour}.png")
    named = [["red", "blue"], [], None, ["lime"]]
    paths = [None if row is None else [f"{colour}.png" for colour in row] for row in named]
    texts = ["<image> or <image>?", "1?", "2?", "which?"]
    path = write(
        tmp_path / f"r{ending}", {"prompt": texts, "answer": list("abcd"), "images": paths}
    )
    assert [colours(row) for row in opened(path)] == [["red", "blue"], [], [], ["lime"]]


def test_a_column_may_mix_bytes_and_paths(tmp_path):
    picture("lime").save(tmp_path / "lime.png")
    mixed = [stored("red"), {"bytes": None, "path": "lime.png"}]
    rows = opened(write(tmp_path / "rows.parquet", {**ROWS, "image": mixed}))
    assert [colours(row) for row in rows] == [["red"], ["lime"]]


@pytest.mark.parametrize("images", [[[], [stored("lime")]], [None, [stored("lime")]]])
def test_an_image_may_be_in_either_column(images, tmp_path):
    rows = {**ROWS, "image": [stored("red"), None], "images": images}
    loaded = opened(write(tmp_path / "rows.parquet", rows))
    assert [colours(row) for row in loaded] == [["red"], ["lime"]]
    assert [len(read(Reader(loaded)[row]).images) for row in range(2)] == [1, 1]


@pytest.mark.parametrize("feature", [None, Stored(), Value("int64"), Value("string")])
def test_an_empty_image_column_gives_text_questions(feature, tmp_path):
    kinds = {"prompt": Value("string"), "answer": Value("string")}
    features = Features({**kinds, "image": feature}) if feature is not None else None
    rows = opened(write(tmp_path / "rows.parquet", {**ROWS, "image": [None, None]}, features))
    assert [colours(row) for row in rows] == [[], []]


def test_paths_are_relative_to_the_file_or_to_image_root(tmp_path):
    for folder, colour in (("tables", "red"), ("elsewhere", "blue")):
        (tmp_path / folder).mkdir()
        picture(colour).save(tmp_path / folder / "a.png")
    path = write(tmp_path / "tables" / "rows.jsonl", {**ROWS, "image": ["a.png", None]})
    assert colours(opened(path)[0]) == ["red"]
    assert colours(opened(path, image_root=str(tmp_path / "elsewhere"))[0]) == ["blue"]
    absolute = {**ROWS, "image": [str(tmp_path / "elsewhere" / "a.png"), None]}
    path = write(tmp_path / "tables" / "rows.jsonl", absolute)
    assert colours(opened(path, image_root=str(tmp_path))[0]) == ["blue"]


def test_mapped_columns_are_renamed_and_others_are_kept(tmp_path):
    named = {"query": ["A?"], "truth": ["b"], "prompt": ["old"], "hint": ["c"], "n": [[1, 2]]}
    path = write(tmp_path / "rows.parquet", named)
    rows = opened(path, columns=Columns(question="query", answer="truth"))
    assert sorted(rows.column_names) == ["answer", "hint", "n", "prompt"]
    assert (read(rows[0]).text, rows[0]["answer"]) == ("A?", "b")
    assert (rows[0]["hint"], rows[0]["n"]) == ("c", [1, 2])


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_other_columns_keep_their_values(ending, tmp_path):
    others = {
        "level": [3, None],
        "share": [0.5, 2.0],
        "tags": [["a", "b"], []],
        "about": [{"topic": "sums", "pages": [1]}, {"topic": None, "pages": []}],
        "id": ["x", "y"],
    }
    rows = opened(write(tmp_path / f"rows{ending}", {**ROWS, **others}))
    assert {name: rows[name][:] for name in others} == others


def test_answers_can_be_disabled(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"prompt": ["a?"]})
    assert opened(path, columns=Columns(answer=None)).column_names == ["prompt"]


# Rows of published data sets, in the types of their parquet files.
PICTURES = List({"bytes": Value("binary"), "path": Value("string")})
TEXT = Value("string")
PUBLISHED = {
    "easyr1": (
        {
            "images": [[stored("red")], [stored("red"), stored("blue")]],
            "problem": ["<image>Find x.", "<image> or <image>?"],
            "answer": ["3", "\\frac{1}{2}"],
        },
        Features({"images": PICTURES, "problem": TEXT, "answer": TEXT}),
        [["red"], ["red", "blue"]],
    ),
    "easyr1 without a picture": (
        {"images": [[], []], "problem": ["Find x.", "Find y."], "answer": ["3", "4"]},
        Features({"images": List(Stored()), "problem": TEXT, "answer": TEXT}),
        [[], []],
    ),
    "mmk12": (
        {
            "id": ["a1", "a2"],
            "question": ["How many?<image>", "Which?"],
            "answer": ["3", "B"],
            "subject": ["math", "biology"],
            "image": [stored("red"), stored("lime")],
        },
        Features(
            dict.fromkeys(("id", "question", "answer", "subject"), TEXT) | {"image": Stored()}
        ),
        [["red"], ["lime"]],
    ),
    "share-vl with lists": (
        {
            "problem": ["<image>Find x.", "<image>Find y."],
            "answer": ["3", "4"],
            "images": [[stored("red")], [stored("blue")]],
            "new_questions": [["<image>What is x?", "Give x."], []],
        },
        Features(
            {"problem": TEXT, "answer": TEXT, "images": PICTURES, "new_questions": List(TEXT)}
        ),
        [["red"], ["blue"]],
    ),
    "share-vl with Python's lists": (
        {
            "problem": ["<image>Find x.", "<image>Find y."],
            "answer": ["3", "4"],
            "images": [[stored("red")], [stored("blue")]],
            "new_questions": [str(["<image>What's x?", "Give \\alpha."]), '["Say \\"y\\"."]'],
        },
        Features({"problem": TEXT, "answer": TEXT, "images": PICTURES, "new_questions": TEXT}),
        [["red"], ["blue"]],
    ),
    "trl": (
        {
            "prompt": [[{"role": "user", "content": "How many?"}]] * 2,
            "image": [stored("red"), None],
            "solution": ["3", "4"],
        },
        None,
        [["red"], []],
    ),
    "trl with parts": (
        {
            "prompt": [
                [
                    {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                    {
                        "role": "user",
                        "content": [{"type": "image"}, {"type": "text", "text": "How many?"}],
                    },
                ]
            ],
            "images": [[stored("red")]],
            "answer": ["3"],
        },
        None,
        [["red"]],
    ),
    "image-folder": (
        {"file_name": ["red.png", None], "text": ["Colour?", "1?"], "label": ["red", "1"]},
        None,
        [["red"], []],
    ),
}


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_layout_is_read_unchanged(name, named, tmp_path):
    rows, features, pictures = PUBLISHED[name]
    picture("red").save(tmp_path / "red.png")
    path = write(tmp_path / "rows.parquet", rows, features)
    loaded = opened(path, layout=name.split()[0] if named else None)
    assert [colours(row) for row in loaded] == pictures
    answers = next(rows[column] for column in ("answer", "solution", "label") if column in rows)
    assert loaded["answer"][:] == answers
    for column in ("id", "subject", "new_questions"):
        assert (column in loaded.column_names) == (column in rows)
        if column in rows:
            assert loaded[column][:] == rows[column]


@pytest.mark.parametrize("name", ["share-vl with lists", "share-vl with Python's lists"])
def test_rewrites_of_every_form_are_checked(name, tmp_path):
    rows, features, _ = PUBLISHED[name]
    path = write(tmp_path / "rows.parquet", rows, features)
    found = survey(str(path), split="train", variants=Variants(prompts=2, rewrites="new_questions"))
    assert (len(found.rows), found.faults) == (2, [])


@pytest.mark.parametrize("value", [stored("red"), {"bytes": None, "path": "red.png"}])
def test_images_inside_a_conversation_are_read(value, tmp_path):
    picture("red").save(tmp_path / "red.png")
    picture("blue").save(tmp_path / "blue.png")
    parts = [
        [{"type": "image", "image": value, "text": None}, {"type": "text", "text": "Same as"}],
        [{"type": "image", "image": {"bytes": None, "path": "blue.png"}, "text": "?"}],
        [{"type": "text", "text": "2?"}],
    ]
    prompts = [[{"role": "user", "content": [*content, parts[2][0]]}] for content in parts]
    path = write(tmp_path / "rows.parquet", {"prompt": prompts, "answer": ["1", "2", "3"]})
    assert [colours(row) for row in opened(path)] == [["red"], ["blue"], []]


def test_image_paths_inside_a_conversation_in_jsonl_are_read(tmp_path):
    picture("red").save(tmp_path / "red.png")
    parts = [{"type": "image", "image": "red.png"}, {"type": "text", "text": "Which?"}]
    lines = [
        {"prompt": [{"role": "user", "content": parts}], "answer": "r"},
        {"prompt": "1 + 1?", "answer": 2},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = opened(tmp_path / "rows.jsonl")
    assert [colours(row) for row in rows] == [["red"], []]
    assert read(rows[1]).text == "1 + 1?"


def test_placeholders_without_an_image_column_are_warned_about(tmp_path, caplog):
    rows = {"prompt": ["What is <image>?", "2 + 2?", "<image> or <b>?"], "answer": ["a", "b", "c"]}
    with caplog.at_level(logging.WARNING):
        found = opened(write(tmp_path / "rows.jsonl", rows))
    assert [read(row).text for row in found] == rows["prompt"]
    assert "2 rows contain <image>, but no image column is used" in caplog.text


def test_conversations_keep_their_keys_and_their_last_turn(tmp_path):
    calls = [{"name": "add", "arguments": {"a": 2}}]
    prompt = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "4", "name": "add"},
    ]
    rows = [{"prompt": prompt}, {"prompt": [{"role": "user", "content": "1 + 1?"}]}]
    lines = [json.dumps({**row, "answer": "4"}) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    found = opened(tmp_path / "rows.jsonl")
    assert [render(read(row)) for row in found] == [row["prompt"] for row in rows]


def bad_rows() -> dict:
    return {
        "id": [f"q{row}" for row in range(6)],
        "prompt": ["0?", " ", "2?", "<image> 3?", "4?", "5?"],
        "answer": ["0", "1", "2", "3", None, "5"],
        "image": [None] * 6,
        "level": list(range(6)),
    }


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv", ".json"])
def test_skipping_keeps_good_rows_in_order_and_writes_the_rejects(ending, tmp_path, caplog):
    path, rejects = write(tmp_path / f"r{ending}", bad_rows()), tmp_path / "out" / "rejects.jsonl"
    with caplog.at_level(logging.WARNING):
        rows = opened(path, on_bad_row="skip", rejects=rejects)
    assert rows["id"][:] == ["q0", "q2", "q5"]
    assert rows["answer"][:] == ["0", "2", "5"]
    assert [int(level) for level in rows["level"]] == [0, 2, 5]
    assert [read(row).text for row in rows] == ["0?", "2?", "5?"]
    written = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [set(line) for line in written] == [{"source", "row", "column", "value", "reason"}] * 3
    assert [(line["row"], line["column"]) for line in written] == [
        (1, "prompt"),
        (3, "prompt"),
        (4, "answer"),
    ]
    assert {line["source"] for line in written} == {str(path)}
    assert "empty" in written[0]["reason"] and "1 <image> for 0 images" in written[1]["reason"]
    assert f"skipped 3 of 6 rows, written to {rejects}" in caplog.text


def test_bad_rows_raise_an_error_by_default(tmp_path):
    path = write(tmp_path / "rows.parquet", bad_rows())
    with pytest.raises(InputError) as caught:
        opened(path, rejects=tmp_path / "rejects.jsonl")
    first, *lines = str(caught.value).splitlines()
    assert first == f"{path}: 3 rows cannot be used:"
    assert [line.split(":")[0].strip() for line in lines] == [
        "row 1, column 'prompt'",
        "row 3, column 'prompt'",
        "row 4, column 'answer'",
    ]
    assert not (tmp_path / "rejects.jsonl").exists()


def test_skipping_raises_an_error_if_no_row_is_good(tmp_path):
    path = write(tmp_path / "rows.parquet", {"prompt": ["", " "], "answer": ["1", "2"]})
    with pytest.raises(InputError, match="2 rows cannot be used"):
        opened(path, on_bad_row="skip")


def test_the_message_lists_twenty_faults_and_counts_the_rest(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"prompt": [" "] * 50, "answer": ["1"] * 50})
    with pytest.raises(InputError, match="50 rows cannot be used") as caught:
        opened(path)
    assert len(str(caught.value).splitlines()) == 22
    assert str(caught.value).endswith("and 30 more")


def test_many_rows_are_checked_by_several_processes_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("vantage.questions.parallel.SMALL", 100)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    texts = ["" if row == 217 else f"{row}?" for row in range(300)]
    path = write(tmp_path / "rows.parquet", {"prompt": texts, "answer": [*map(str, range(300))]})
    rows = opened(path, on_bad_row="skip")
    assert [int(answer) for answer in rows["answer"]] == [row for row in range(300) if row != 217]


def test_crashed_worker_error_names_the_range_of_rows(monkeypatch):
    monkeypatch.setattr("vantage.questions.parallel.SMALL", 100)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    with pytest.raises(InputError, match="reading a row between 0 and 192 crashed the worker"):
        over_rows(lambda row: os._exit(1) if row == 5 else row, 300, "Checking")


def _places(column: pa.ChunkedArray) -> set[int]:
    """Memory addresses of image bytes."""
    found, arrays = set(), list(column.chunks)
    while arrays:
        array = arrays.pop()
        if isinstance(array, pa.ListArray):
            arrays.append(array.values)
        elif isinstance(array, pa.StructArray):
            arrays.append(array.field("bytes"))
        else:
            found.add(array.buffers()[2].address)
    return found


@pytest.mark.parametrize("kind", ["image", "images"])
@pytest.mark.parametrize("value", [stored("red"), encoded("red")], ids=["struct", "bytes"])
def test_image_bytes_are_not_copied(value, kind, tmp_path, monkeypatch):
    values = [value if kind == "image" else [value]] * 2
    path = write(
        tmp_path / "rows.parquet", {"prompt": ["", "a?"], "answer": ["1", "2"], kind: values}
    )
    raw = []
    opening = loading.open_rows
    monkeypatch.setattr(loading, "open_rows", lambda *given: raw.append(opening(*given)) or raw[0])
    rows = opened(path, on_bad_row="skip")
    assert colours(rows[0]) == ["red"]
    assert _places(rows.data.column(kind)) == _places(raw[0][0].data.column(kind))


NAMES = [
    ("rows.parquet", {"columns": Columns(question="promt")}, "no column 'promt' for the question"),
    ("rows.parquet", {"columns": Columns(answer="answr")}, "the answer; did you mean 'answer'"),
    ("rows.parquet", {"columns": Columns(image="image")}, "no column 'image' for the image"),
    ("rows.parquet", {"columns": Columns(question=None)}, "every row needs a question"),
    ("rows.parquet", {"layout": "trll"}, "layout='trll': did you mean 'trl'"),
    ("rows.parquet", {"layout": "mmk12"}, "no column 'question' for the question"),
    ("rows.parquet", {"variants": Variants(prompts=2, rewrites="other")}, "no column 'other'"),
    ("gone.parquet", {}, "no such file"),
    ("rows.txt", {}, "expected a file ending in .parquet"),
]


@pytest.mark.parametrize(("name", "options", "words"), NAMES, ids=[case[2] for case in NAMES])
def test_missing_column_error_names_the_column(name, options, words, tmp_path):
    write(tmp_path / "rows.parquet", ROWS)
    (tmp_path / "rows.txt").write_text("2 + 2")
    with pytest.raises(ValueError, match=words):
        opened(tmp_path / name, **options)
