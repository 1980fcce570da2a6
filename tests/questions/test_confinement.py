"""A data set opens no file outside of its directory and no URL."""

import io
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, List, Sequence, Value
from datasets import Image as Stored
from PIL import Image
from unasked import guard

from vantage.errors import VantageError
from vantage.questions.loading import load
from vantage.questions.tables import open_rows

LINE = json.dumps({"prompt": "How many?", "answer": "4"}) + "\n"
TOLD = ("Traceback", "site-packages", 'File "')


@pytest.fixture(autouse=True)
def unasked(tmp_path, monkeypatch):
    """Fail on any network request and on any code of the data."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    guard(monkeypatch, tmp_path / "canary")
    yield
    assert not (tmp_path / "canary").exists(), (tmp_path / "canary").read_text()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data directory, with private files beside it."""
    (tmp_path / "private").mkdir()
    for name in ("data", "private"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "picture.png").write_bytes(encoded())
    (tmp_path / "private" / "secret.txt").write_text("secret")
    (tmp_path / "private" / "rows.jsonl").write_text(LINE)
    return tmp_path / "data"


def encoded() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "png")
    return stream.getvalue()


def refused(source, words: str) -> None:
    with pytest.raises(VantageError) as caught:
        load(str(source), split="train")
    told = str(caught.value)
    assert words in told
    assert not any(word in told for word in TOLD)


ADDRESSES = [
    "http://127.0.0.1:9/rows.jsonl",
    "https://example.org/rows.jsonl",
    "HTTPS://example.org/rows.jsonl",
    "hf://datasets/somebody/something/rows.jsonl",
    "s3://bucket/rows.jsonl",
    "gs://bucket/rows.jsonl",
    "ftp://example.org/rows.jsonl",
    "ssh://example.org/rows.jsonl",
    "github://somebody:something@main/rows.jsonl",
    "zip://rows.jsonl::https://example.org/rows.zip",
    "gzip://rows.jsonl::http://example.org/rows.gz",
    "simplecache::s3://bucket/rows.jsonl",
    "filecache::https://example.org/rows.jsonl",
    "reference://::https://example.org/index.json",
    "file:///etc/passwd",
    "local:///etc/passwd",
    "memory://rows.jsonl",
    "data:,://x",
]
OUTSIDE = [
    "/etc/passwd",
    "../private/rows.jsonl",
    "a/../../private/*.jsonl",
    "~/rows.jsonl",
    "../*",
]
# Ways in which a card can name files.
NAMINGS = {
    "a text": "configs:\n- config_name: default\n  data_files: {}\n",
    "a list": "configs:\n- config_name: default\n  data_files:\n  - rows.jsonl\n  - {}\n",
    "splits": "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {}\n",
    "lists of splits": (
        "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path:\n"
        "    - rows.jsonl\n    - {}\n"
    ),
    "another part": (
        "configs:\n- config_name: default\n  data_files: rows.jsonl\n"
        "- config_name: other\n  data_files: {}\n"
    ),
    "a directory": "configs:\n- config_name: default\n  data_dir: {}\n",
    "an alias": "x: &x {}\nconfigs:\n- config_name: default\n  data_files: *x\n",
}


CARDS = [(named, "a text", "README.md") for named in (*ADDRESSES, *OUTSIDE)]
CARDS += [(ADDRESSES[0], naming, "README.md") for naming in NAMINGS]
CARDS += [(OUTSIDE[1], naming, ".huggingface.yaml") for naming in NAMINGS]


@pytest.mark.parametrize(("named", "naming", "place"), CARDS)
def test_a_card_that_names_files_outside_is_rejected(folder, named, naming, place):
    (folder / "rows.jsonl").write_text(LINE)
    text = NAMINGS[naming].format(json.dumps(named))
    (folder / place).write_text(f"---\n{text}---\n# Rows\n" if place == "README.md" else text)
    refused(folder, f"{place}: data_")


HEADS = {
    "no end": "---\nconfigs:\n- config_name: default\n  data_files: rows.jsonl\n",
    "a bomb": "---\n" + "\n".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12)
    ) + "\n---\n",
    "itself": "---\na: &a [*a]\n---\n",
    "deep": "---\na: " + "[" * 5_000 + "]" * 5_000 + "\n---\n",
    "a tag": "---\na: !!python/object/apply:os.system ['touch canary']\n---\n",
    "no object": "---\n- 3\n---\n",
    "a text": "---\nconfigs: 3\n---\n",
    "no texts": "---\nconfigs:\n- config_name: 3\n  data_files: {a: [3, null]}\n---\n",
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_an_unusual_card_is_read_or_rejected(folder, head, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder / "rows.jsonl").write_text(LINE)
    (folder / "README.md").write_text(head)
    try:
        assert len(load(str(folder), split="train")) == 1
    except VantageError as error:
        assert "Traceback" not in str(error)


def test_a_usual_card_is_read(folder):
    (folder / "some").mkdir()
    (folder / "some" / "rows.jsonl").write_text(LINE * 2)
    (folder / "README.md").write_text(
        "---\nlicense: mit\nhomepage: https://example.org\ndataset_info:\n  description: see "
        "https://example.org\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n"
        "    path: some/*.jsonl\n---\n# Rows of https://example.org\n"
    )
    assert len(load(str(folder), split="train")) == 2


@pytest.mark.parametrize("source", ADDRESSES[:-1])
def test_a_url_source_is_rejected(source):
    refused(source, "is a URL")


PATHS = {
    "http": "http://127.0.0.1:9/a.png",
    "https": "https://example.org/a.png",
    "the hub": "hf://datasets/a/b/a.png",
    "s3": "s3://bucket/a.png",
    "a chain": "zip://a.png::https://example.org/a.zip",
    "a cache": "simplecache::https://example.org/a.png",
    "two slashes": "//example.org/a.png",
    "one slash": "http:/example.org/a.png",
    "passwords": "/etc/passwd",
    "upwards": "../private/picture.png",
    "inside and upwards": "x/../../private/picture.png",
    "a link out": "out.png",
    "a link to a text": "text.png",
    "a directory behind a link": "away/picture.png",
    "links in a row": "one.png",
    "a process": "/proc/self/environ",
    "a process behind a link": "environ.png",
    "a device": "/dev/zero",
    "a fifo": "fifo.png",
    "a directory": ".",
    "a file of another kind": "rows.jsonl",
    "a text with the name of a picture": "fake.png",
    "home": "~/a.png",
    "a file in words": "file:///etc/passwd",
    "no end": "a" * 5_000,
    "a nul": "a\0.png",
}


def traps(folder: Path) -> None:
    (folder / "out.png").symlink_to(folder.parent / "private" / "picture.png")
    (folder / "text.png").symlink_to(folder.parent / "private" / "secret.txt")
    (folder / "away").symlink_to(folder.parent / "private")
    (folder / "two.png").symlink_to("out.png")
    (folder / "one.png").symlink_to("two.png")
    (folder / "environ.png").symlink_to("/proc/self/environ")
    (folder / "fake.png").write_text("no picture")
    os.mkfifo(folder / "fifo.png")


def rows(path: str, form: str) -> dict[str, list]:
    """Two rows: an image in the directory, and one at a forbidden path."""
    made = {
        "texts": lambda one: one,
        "lists": lambda one: [one],
        "objects": lambda one: {"bytes": None, "path": one},
        "addresses": lambda one: {"url": one},
        "pictures": lambda one: {"bytes": None, "path": one},
        "lists of pictures": lambda one: [{"bytes": None, "path": one}],
        "sequences of pictures": lambda one: [{"bytes": None, "path": one}],
    }[form]
    column = "images" if "list" in form or "sequence" in form else "image"
    asked = ["<image>Which?", "<image>What?"]
    return {"problem": asked, "answer": ["4", "5"], column: [made("picture.png"), made(path)]}


FORMS = ("texts", "lists", "objects", "addresses", "pictures", "lists of pictures")
KINDS = {
    "pictures": Stored(),
    "lists of pictures": List(Stored()),
    "sequences of pictures": Sequence(Stored()),
}


def written(folder: Path, path: str, form: str) -> Path:
    found = rows(path, form)
    if form not in KINDS:
        place = folder / "rows.jsonl"
        lines = (dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True))
        place.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return place
    place = folder / "rows.parquet"
    column = next(name for name in found if name.startswith("image"))
    kinds = {"problem": Value("string"), "answer": Value("string"), column: KINDS[form]}
    held, schema = Dataset.from_dict(found, features=Features(kinds)), Features(kinds).arrow_schema
    pq.write_table(pa.table(held.data.table.to_pydict(), schema), place)  # paths stay paths
    return place


CASES = [(path, form) for path in PATHS for form in ("texts", "pictures")]
CASES += [(path, form) for path in ("http", "upwards", "a link out") for form in FORMS]
CASES = list(dict.fromkeys(CASES))


@pytest.mark.parametrize(("path", "form"), [*CASES, ("http", "sequences of pictures")])
def test_error_names_the_row_of_an_image_outside_the_directory(folder, path, form):
    traps(folder)
    refused(written(folder, PATHS[path], form), "row 1, column 'image")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["http", "the hub", "a chain", "passwords", "a fifo"])
def test_expand_into_the_data_directory_opens_no_path(folder, vantage, path, form):
    traps(folder)
    data = written(folder, PATHS[path], form)
    more = ("--rewrites", 1, "--built-in")
    assert vantage("expand", data, "--output", folder / "out.parquet", *more)[0] == 1
    assert PATHS[path] in str(pq.read_table(folder / "out.parquet").to_pylist())


@pytest.mark.parametrize(("path", "form"), CASES)
def test_expand_embeds_no_file_outside_the_directory(folder, vantage, path, form):
    traps(folder)
    data, out = written(folder, PATHS[path], form), folder.parent / "out" / "rows.parquet"
    status, _, err = vantage("expand", data, "--output", out, "--rewrites", 1, "--built-in")
    assert status == 2, err
    assert "row 1, column 'image" in err or "cannot be used" in err or "image_root" in err
    assert not out.exists()


def test_expand_embeds_the_images_of_the_data(folder, vantage):
    (folder / "link.png").symlink_to("picture.png")
    data, out = written(folder, "link.png", "texts"), folder.parent / "out" / "rows.parquet"
    assert vantage("expand", data, "--output", out, "--rewrites", 1, "--built-in")[0] == 1
    held = pq.read_table(out)["image"].to_pylist()
    assert [one["bytes"] for one in held] == [encoded()] * 2


def test_links_inside_the_hub_cache_are_allowed(tmp_path):
    blobs, shown = tmp_path / "d" / "blobs", tmp_path / "d" / "snapshots" / "abc"
    for place in (blobs, shown):
        place.mkdir(parents=True)
    (blobs / "1").write_bytes(encoded())
    (blobs / "2").write_text('{"problem": "<image>Which?", "answer": "4", "image": "a.png"}\n')
    (shown / "a.png").symlink_to("../../blobs/1")
    (shown / "train.jsonl").symlink_to("../../blobs/2")
    assert len(load(str(shown), split="train")) == 1
    assert len(load(str(shown / "train.jsonl"), split="train")) == 1


def saved(folder: Path, **state) -> None:
    Dataset.from_dict({"prompt": ["Why?"], "answer": ["4"]}).save_to_disk(folder)
    held = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(held | state))


@pytest.mark.parametrize(
    "file", ["../private/data.arrow", "/etc/passwd", "link/data.arrow", "file:///x/::y"]
)
def test_a_saved_data_set_cannot_name_files_outside(folder, file):
    Dataset.from_dict({"prompt": ["private"], "answer": ["4"]}).save_to_disk(folder / "../private")
    private = folder.parent / "private"
    (private / "data-00000-of-00001.arrow").rename(private / "data.arrow")
    saved(folder, _data_files=[{"filename": file}])
    (folder / "link").symlink_to("../private")
    refused(folder, "outside of the data directory")


def test_splits_of_a_saved_data_set_cannot_be_outside(folder):
    saved(folder.parent / "private")
    (folder / "dataset_dict.json").write_text('{"splits": ["../private"]}')
    refused(folder, "outside of the data directory")


@pytest.mark.parametrize("name", ["rows.jsonl", "train/rows.jsonl", "metadata.jsonl"])
def test_a_linked_table_outside_is_rejected(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(folder.parent / "private" / "rows.jsonl")
    refused(folder, "outside of the data directory")


@pytest.mark.parametrize("name", ["csv", "json", "parquet", "imagefolder", "pandas", "sql"])
def test_a_directory_named_like_a_reader_is_read_as_a_directory(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    Path(name).mkdir()
    Path(name, "rows.jsonl").write_text(LINE)
    assert len(load(name, split="train")) == 1


OTHERS = [
    "rows.h5",
    "rows.lance",
    "rows.xml",
    "rows.pkl",
    "rows.pt",
    "rows.npy",
    "rows.py",
    "a.toml",
]


@pytest.mark.parametrize("name", OTHERS)
def test_unsupported_file_formats_are_rejected(folder, name):
    (folder / "picture.png").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    refused(folder, str(folder))


def test_a_zip_bomb_is_rejected(folder, monkeypatch):
    monkeypatch.setattr("vantage.questions.confinement.MOST_UNPACKED", 1_000_000)
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(10_000_000))
    refused(folder, "unpacks to")


def test_paths_of_a_hub_data_set_are_confined_to_the_cache(monkeypatch, tmp_path):
    """A row of a data set on the Hub cannot name a local image."""
    made = Dataset.from_dict(rows(str(tmp_path / "data" / "picture.png"), "texts"))
    monkeypatch.setattr("vantage.questions.tables.load_dataset", lambda *_: {"train": made})
    _, root = open_rows("somebody/something", "train")
    assert root == tmp_path / "cache"
    refused("somebody/something", "leaves the directory")
