"""`vantage expand` as a command: outputs, errors and interruptions."""

import functools
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, List, Value, load_dataset
from datasets import Image as ImageFeature
from loopback import Loopback, ways
from PIL import Image

from vantage.demo.digits import WORDINGS
from vantage.rewriting.run import READINGS


def encoded(colour: str, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def expand(vantage):
    """A function that calls `vantage expand`."""
    return functools.partial(vantage, "expand")


def at(loopback, *more):
    return ["--base-url", loopback.url, "--model", "m", "--rewrites", 2, *more]


def kept(data, out):
    """Whether another file has all columns of a file with the same types and bytes."""
    before, after = pq.read_table(data), pq.read_table(out)
    assert after.column_names == [*before.column_names, "new_questions"]
    assert after.drop_columns("new_questions").schema.types == before.schema.types
    return after.drop_columns("new_questions").to_pylist() == before.to_pylist()


def test_all_columns_are_unchanged_and_rewrites_are_usable(expand, tmp_path):
    rows = {
        "q": ["<image>What is in it?", "What is 2 + 2?"],
        "a": ["red", "4"],
        "pic": [{"bytes": encoded("red"), "path": "red.png"}, None],
        "views": [[{"bytes": encoded("blue"), "path": None}], []],
        "n": [1, None],
        "deep": [{"x": [0.5], "y": "z"}, {"x": [], "y": None}],
    }
    features = Features(
        q=Value("large_string"),
        a=Value("string"),
        pic=ImageFeature(),
        views=List(ImageFeature()),
        n=Value("int16"),
        deep={"x": List(Value("float32")), "y": Value("string")},
    )
    data, out = tmp_path / "rows.parquet", tmp_path / "deep" / "out.parquet"
    Dataset.from_dict(rows, features=features).to_parquet(data)
    columns = ["--question", "q", "--answer", "a", "--image", "pic", "--images", "views"]
    with Loopback() as loopback:
        status, printed, err = expand(data, "--output", out, *at(loopback), *columns)
    assert status == 0, err
    assert "unchanged" in printed
    assert kept(data, out)
    loaded = load_dataset("parquet", data_files=str(out), split="train")
    assert loaded.features["pic"] == ImageFeature()
    assert loaded.features["new_questions"] == List(Value("string"))
    assert [row["new_questions"] for row in loaded] == [ways(q, 2) for q in rows["q"]]
    assert loaded[0]["pic"].getpixel((0, 0)) == (255, 0, 0)
    sent = [body["messages"][-1]["content"] for body in loopback.bodies]
    assert all(isinstance(text, str) for text in sent)  # no images by default


def test_the_out_file_can_be_trained_on(expand, tmp_path):
    from vantage.questions.loading import load
    from vantage.questions.schema import read
    from vantage.questions.variants import Variants

    data, out = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why so?"}]
    Dataset.from_dict({"prompt": [prompt], "answer": ["x"]}).to_parquet(data)
    with Loopback() as loopback:
        assert expand(data, "--output", out, *at(loopback))[0] == 0
    assert kept(data, out)
    (row,) = load(str(out), split="train")
    variants = Variants(prompts=3, rewrites="new_questions")
    rng = np.random.default_rng(0)
    made = variants.expand(read(row), rng, rewrites=row["new_questions"])
    assert {prompt.text for prompt in made} == {"Why so?", *ways("Why so?", 2)}


@pytest.mark.parametrize("kind", ["path", "struct"])
def test_image_files_are_embedded_for_another_directory(expand, tmp_path, kind):
    (tmp_path / "data" / "pics").mkdir(parents=True)
    (tmp_path / "data" / "pics" / "red.png").write_bytes(encoded("red"))
    path = "pics/red.png"
    value = path if kind == "path" else {"bytes": None, "path": path}
    rows = {"prompt": ["What is it?", "Why so?"], "answer": ["x", "y"], "pic": [value, None]}
    data, near = tmp_path / "data" / "rows.parquet", tmp_path / "data" / "out.parquet"
    Dataset.from_dict(rows).to_parquet(data)
    with Loopback() as loopback:
        assert expand(data, "--output", near, *at(loopback), "--image", "pic")[0] == 0
        far = tmp_path / "elsewhere" / "out.parquet"
        assert expand(data, "--output", far, *at(loopback), "--image", "pic")[0] == 0
    assert kept(data, near)
    loaded = load_dataset("parquet", data_files=str(far), split="train")
    assert loaded[0]["pic"].getpixel((0, 0)) == (255, 0, 0)
    assert loaded[1]["pic"] is None


def test_images_are_sent_as_data_urls_if_requested(expand, tmp_path):
    pictures = [encoded("red"), encoded("blue", "bmp"), b"no picture"]
    rows = {"prompt": ["What is it?"] * 3, "answer": ["x"] * 3, "pic": pictures}
    data, out = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    Dataset.from_dict(rows).to_parquet(data)
    with Loopback() as loopback:
        options = ["--image", "pic", "--with-image", "--no-verify", "--concurrency", 1]
        assert expand(data, "--output", out, *at(loopback, *options))[0] == 0
    sent = [body["messages"][-1]["content"] for body in loopback.bodies]
    urls = [parts[0]["image_url"]["url"] for parts in sent]
    assert len(urls) == 2  # the same text with another image is another question
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    (line,) = map(json.loads, (tmp_path / "out.parquet.rejected.jsonl").read_text().splitlines())
    assert (line["row"], line["rewrite"]) == (2, None)
    assert line["reason"].startswith("image: ")


def test_templates_need_no_server(expand, tmp_path):
    data, out = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    Dataset.from_dict({"prompt": [WORDINGS[0], "Why?"], "answer": ["1", "2"]}).to_parquet(data)
    status, printed, _ = expand(data, "--output", out, "--built-in", "--rewrites", 3)
    assert status == 0
    assert "no wording matches" in printed
    lists = pq.read_table(out).column("new_questions").to_pylist()
    assert [len(texts) for texts in lists] == [3, 0]


def test_exit_status_if_nothing_could_be_expanded(expand, tmp_path):
    data, out = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    Dataset.from_dict({"prompt": ["Why?", ""], "answer": ["1", "2"]}).to_parquet(data)
    assert expand(data, "--output", out, "--built-in", "--rewrites", 3)[0] == 1
    assert pq.read_table(out).column("new_questions").to_pylist() == [[], []]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ([], "expected --base-url and --model"),
        (["--base-url", "localhost:8000", "--model", "m"], "http://localhost:8000/v1"),
        (
            ["--built-in", "--question", "promt"],
            "no column 'promt' for the question; did you mean 'prompt'",
        ),
        (["--built-in", "--output", "out.csv"], "ending in .parquet"),
        (["--built-in", "--output", "rows.parquet"], "is the data itself"),
        (["--built-in", "--answer", "new_questions"], "already exists"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_options_are_rejected(expand, tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    rows = {"prompt": ["Why?"], "answer": ["x"]}
    rows |= {"new_questions": [["x"]]} if "new_questions" in change else {}
    Dataset.from_dict(rows).to_parquet("rows.parquet")
    status, _, err = expand("rows.parquet", "--output", "out.parquet", "--rewrites", 2, *change)
    assert status == 2
    assert words in err


def test_the_key_is_read_from_the_environment(expand, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    data, out = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    Dataset.from_dict({"prompt": ["Why?"], "answer": ["x"]}).to_parquet(data)
    with Loopback() as loopback:
        assert expand(data, "--output", out, *at(loopback))[0] == 0
    assert b"secret" not in (tmp_path / "out.parquet.journal.jsonl").read_bytes()


def digest(folder):
    return [
        hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("out.parquet", "out.parquet.rejected.jsonl")
    ]


def journalled(folder):
    """Number of answers of each question in the journal, counting only whole lines."""
    path, counts = folder / "out.parquet.journal.jsonl", {}
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for line in map(json.loads, lines):
        counts[line["question"]] = counts.get(line["question"], 0) + 1
    return counts


def asked_about(loopback):
    """Number of requests for each question, including those of the judge."""
    counts = Counter()
    for asked, count in loopback.asked.items():
        counts[asked.rpartition("following thing: ")[2]] += count
    return counts


def test_a_killed_run_resumes_without_repeating_requests(tmp_path):
    questions = [f"Where does train number {n} stop, says the table?" for n in range(100, 130)]
    scripts = {questions[3]: ["lorem"], questions[7]: ["I'm sorry, I cannot."]}
    scripts[questions[9]] = [json.dumps([questions[9], *ways(questions[9], 1)])]
    # One request for rewrites, more if the reply has none, and one per rewrite for the judge.
    needed = {q: READINGS if n in (3, 7) else 3 for n, q in enumerate(questions)}
    needed[questions[9]] = 2
    rng = random.Random(0)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "c")}

    def start(loopback, folder):
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "vantage", "expand", str(tmp_path / "rows.parquet")]
        command += ["--output", str(folder / "out.parquet"), "--concurrency", "2"]
        command += list(map(str, at(loopback)))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, **quiet)

    rows = {"prompt": questions, "answer": [""] * len(questions)}
    Dataset.from_dict(rows).to_parquet(tmp_path / "rows.parquet")
    with Loopback(scripts, delay=0.05) as loopback:
        whole = start(loopback, tmp_path / "whole")
        assert whole.wait(60) == 0, whole.stderr.read()
    assert asked_about(loopback) == needed

    broken, done = tmp_path / "broken", {}
    with Loopback(scripts, delay=0.05) as loopback:
        for kill in range(10):
            process = start(loopback, broken)
            before = loopback.asked.total()
            # One run is killed at its start, one while writing, the others during requests.
            more = rng.randint(1, 5) if 0 < kill < 9 else 0
            until = time.monotonic() + (rng.uniform(0.2, 1.0) if kill == 0 else 20)
            while time.monotonic() < until and process.poll() is None:
                finished = sum(journalled(broken).values()) >= sum(needed.values())
                if finished or (more and loopback.asked.total() - before >= more):
                    time.sleep(rng.uniform(0, 0.08))
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.1)  # let the server finish the requests in flight
            counts = journalled(broken)
            for question in [q for q in questions if counts.get(q, 0) == needed[q]]:
                done.setdefault(question, asked_about(loopback)[question])
        last = start(loopback, broken)
        assert last.wait(60) == 0, last.stderr.read()
    assert {
        q: asked_about(loopback)[q] for q in done
    } == done  # no request is repeated once its answer is in the journal
    assert loopback.asked.total() - sum(needed.values()) <= 10 * 2  # requests in flight
    assert journalled(broken) == needed  # nothing lost
    assert digest(broken) == digest(tmp_path / "whole")
    assert not list(broken.glob(".*"))  # no temporary files are left
