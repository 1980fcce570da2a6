"""`vantage eval` as a command: what it asks, writes and refuses, and how it resumes."""

import functools
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Dataset
from published import CASES, publish
from test_responses import Candidate

from vantage.demo import digits
from vantage.errors import ConfigError
from vantage.evaluation import models
from vantage.evaluation.results import label
from vantage.evaluation.run import Framing, framing
from vantage.questions.pixels import Bounds


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def evaluate(vantage):
    return functools.partial(vantage, "eval")


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    """Six questions, two with an image, in a file with unusual column names."""
    pictures = [digits.picture([n, n + 1]) if n < 2 else None for n in range(6)]
    columns = {"q": [f"Add {n} + 1." for n in range(6)], "a": ["1"] * 6, "pic": pictures}
    path = tmp_path_factory.mktemp("sums") / "sums.parquet"
    Dataset.from_dict(columns).to_parquet(path)
    return path


COLUMNS = ["--question", "q", "--answer", "a", "--image", "pic"]
QUICK = ["--samples", 2, "--max-tokens", 4]


def test_own_data_and_benchmarks_share_a_table(evaluate, tiny_model, sums, tmp_path):
    copy = publish("ai2d", tmp_path / "ai2d")
    out = tmp_path / "out"
    arguments = [sums, f"ai2d={copy}", *COLUMNS, *QUICK, "--output", out, "--name", "tiny | one"]
    status, printed, err = evaluate(tiny_model, *arguments)
    assert status == 0, err
    for words in ("AI2D", "sums", "pass@2", "table.md"):
        assert words in printed
    own = out / "tiny-one"
    rows = pq.read_table(own / "sums.parquet").to_pylist()
    assert [(row["id"], row["sample"]) for row in rows] == [
        (str(q), s) for q in range(6) for s in (0, 1)
    ]
    assert all(row["tokens"] <= 4 for row in rows)
    assert "tiny \\| one | rule | A | " in (out / "table.md").read_text()
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")
    measures = json.loads((own / "ai2d.json").read_text())["measures"]
    assert list(measures) == ["accuracy", "pass@2"]


def test_a_second_model_joins_the_table_and_published_figures_are_marked(
    evaluate, tiny_model, tmp_path
):
    copy = publish("geometry3k", tmp_path / "geometry")
    for name in ("one", "two"):
        evaluate(tiny_model, f"geometry3k={copy}", *QUICK, "--output", tmp_path, "--name", name)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0] == "| model | scored by | asked | Geometry3K |"
    names = [line.split(" | ")[0].strip("| ") for line in lines[2:]]
    assert names[:2] == ["one", "two"]
    assert "| Shuffle-R1 3B on Geometry3K (published) | rule |  | 47.9 |" in lines
    assert any("https://arxiv.org/abs/2508.05612" in line for line in lines)
    table = (tmp_path / "table.csv").read_text().splitlines()
    assert table[0] == "model,scored,source,benchmark,measure,percent,low,high,asked"
    (line,) = [line for line in table if line.startswith("Qwen2.5-VL-7B,rule")]
    assert line.endswith("geometry3k,accuracy,38.120,,,")


def test_rerunning_the_command_asks_nothing(evaluate, tiny_model, sums, tmp_path, monkeypatch):
    arguments = [tiny_model, sums, *COLUMNS, *QUICK, "--output", tmp_path / "out"]
    assert evaluate(*arguments)[0] == 0
    before = pq.read_table(next((tmp_path / "out").glob("*/sums.parquet")))

    def refuse(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr("vantage.evaluation.generation.generate", refuse)
    assert evaluate(*arguments)[0] == 0
    assert pq.read_table(next((tmp_path / "out").glob("*/sums.parquet"))) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["MODEL", "SUMS", "--question", "p"], "no column 'p'"),
        (["MODEL", "gone.parquet"], "gone.parquet: no such file"),
        (["gone", "SUMS", *COLUMNS], "'gone' cannot be loaded"),
        (["MODEL", "SUMS", *COLUMNS, "--template", "Sum?"], "{question}"),
        (["MODEL", "SUMS", *COLUMNS, "--template", "{question}<image>"], "after {question}"),
        (["MODEL", "SUMS", *COLUMNS, "--temperature", "0"], "set --samples 1"),
        (["MODEL", "SUMS", "SUMS", *COLUMNS], "each only once"),
        (["MODEL", "my sums=SUMS", "my-sums=SUMS", *COLUMNS], "each only once"),
        (["MODEL", "SUMS", *COLUMNS, "--judge", "m"], "--judge and --judge-url together"),
        (["MODEL", "SUMS", *COLUMNS, "--base-url", "localhost"], "http://localhost:8000/v1"),
        (["MODEL", "ai2d=nowhere"], "nowhere"),
        (["MODEL", "SUMS", *COLUMNS, "--as", "nowhere"], "nowhere/config.yaml"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_input_gives_one_error_message(evaluate, tiny_model, sums, tmp_path, change, words):
    put = {"MODEL": tiny_model, "SUMS": sums}
    arguments = [str(put.get(word, word)).replace("=SUMS", f"={sums}") for word in change]
    status, _, err = evaluate(*arguments, "--output", tmp_path / "out")
    assert status == 2
    assert err.splitlines()[-1].startswith("error: ")
    assert words in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_error_names_a_row_that_cannot_be_asked(evaluate, tiny_model, tmp_path):
    rows = {"prompt": ["Add.", "Add."], "answer": ["1", "1"]}
    rows["image"] = [None, {"bytes": b"no picture", "path": None}]
    Dataset.from_dict(rows).to_parquet(tmp_path / "rows.parquet")
    status, _, err = evaluate(tiny_model, tmp_path / "rows.parquet", "--image", "image")
    assert status == 2
    assert "row 1, column 'image': not an image" in err


def test_error_names_a_file_that_is_not_a_result(evaluate, tiny_model, sums, tmp_path):
    (tmp_path / "out" / "other").mkdir(parents=True)
    (tmp_path / "out" / "other" / "x.json").write_text("{}")
    arguments = [tiny_model, sums, *COLUMNS, *QUICK, "--output", tmp_path / "out"]
    status, _, err = evaluate(*arguments)
    assert status == 2
    assert "x.json is not a result of this version" in err


def test_model_names_become_directory_names():
    assert label("runs/a b/model/") == "runs-a-b-model"
    assert label("Qwen/Qwen2.5-VL-3B-Instruct") == "Qwen-Qwen2.5-VL-3B-Instruct"
    assert label("../..") == "unnamed"


def test_a_trained_model_is_asked_as_in_training(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    values = {
        "model": {"path": "m", "min_pixels": 9, "max_pixels": 100},
        "data": {"train": "x", "template": "Say {question}", "system_prompt": "Be brief."},
        "run": {"output": "run", "epochs": 1},
    }
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(values))
    nothing = (None, None, None, None)
    in_training = Framing("Say {question}", "Be brief.", Bounds(9, 100))
    base = "Qwen/Qwen2.5-VL-3B-Instruct"
    assert framing(str(tmp_path / "run" / "model"), None, *nothing) == in_training
    assert framing(str(tmp_path / "run"), None, *nothing) == Framing()
    assert framing(base, None, *nothing) == Framing()
    assert framing(base, tmp_path / "run", *nothing) == in_training
    asked = framing(base, tmp_path / "run", "{question}!", None, None, 50)
    assert asked == Framing("{question}!", "Be brief.", Bounds(9, 50))
    with pytest.raises(ConfigError, match="gone"):
        framing(base, tmp_path / "gone", *nothing)


def test_code_named_by_a_models_configuration_is_not_run(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'gotcha')!r}, 'w')\n\ndef f():\n    return None\n")
    values = {
        "model": {"path": "m"},
        "data": {"train": "x", "template": "Say {question}", "sampling": f"{evil}:f"},
        "run": {"output": "run", "epochs": 1},
        "recipe": f"{evil}:f",
        "rewards": {f"{evil}:f": 1.0},
    }
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(values))
    found = framing(str(tmp_path / "run" / "model"), None, None, None, None, None)
    assert found == Framing("Say {question}")
    assert not (tmp_path / "gotcha").exists()


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """Directory of a tiny text model, Qwen2, whose tokenizer has a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    path = tmp_path_factory.mktemp("text")
    words = ["<pad>", "<eos>", "<unk>", "user", "Add", "1", "2", "+", ".", "?"]
    inner = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ' ' + m.content + ' ' }}{% endfor %}"
    )
    tokenizer.save_pretrained(path)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(words), **sizes, **heads)).save_pretrained(path)
    return str(path)


def test_a_text_model_answers_questions_without_images(evaluate, text_model, sums, tmp_path):
    Dataset.from_dict({"prompt": ["Add 1 + 2.", "Add 2."], "answer": ["3", "2"]}).to_parquet(
        tmp_path / "plain.parquet"
    )
    talk = [[{"role": "user", "content": f"Add {n}."}] for n in (1, 2)]
    Dataset.from_dict({"prompt": talk, "answer": ["3", "2"]}).to_parquet(tmp_path / "talk.parquet")
    out = ["--output", tmp_path / "out", *QUICK]
    status, _, err = evaluate(
        text_model, tmp_path / "plain.parquet", tmp_path / "talk.parquet", *out
    )
    assert status == 0, err
    status, _, err = evaluate(text_model, sums, *COLUMNS, *out)
    assert status == 2
    assert "question 0 has images" in err


def test_adapters_load_their_base_model(tiny_model, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(tiny_model)
    adapted = get_peft_model(base, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.5)
    adapted.save_pretrained(tmp_path)
    loaded, plain = models.load(str(tmp_path)), models.load(tiny_model)
    assert loaded.sees
    assert loaded.identity != plain.identity
    names = [name for name, _ in loaded.model.named_parameters()]
    weights = dict(loaded.model.named_parameters())
    assert any("lora_B" in name and weights[name].eq(0.5).all() for name in names)


def test_another_model_at_the_same_path_is_another_model(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "m")
    before = models.identity(str(tmp_path / "m"))
    file = next((tmp_path / "m").glob("*.safetensors"))
    assert models.identity(str(tmp_path / "m")) == before
    os.utime(file, (1, 1))
    assert models.identity(str(tmp_path / "m")) != before


def digest(folder: Path) -> list[str]:
    files = [*sorted(folder.glob("*/*.parquet")), folder / "table.csv"]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def journalled(folder: Path) -> Counter:
    """Count the complete lines of all journals."""
    paths = list(folder.glob("*/*.journal.jsonl"))
    lines = [line for path in paths for line in path.read_bytes().split(b"\n")[:-1]]
    return Counter(json.loads(line)["key"] for line in lines)


def test_killed_evaluation_resumes_without_asking_twice(tmp_path):
    copies = [f"{name}={publish(name, tmp_path / name)}" for name in ("mathvision", "mmstar")]
    total = 2 * (len(CASES["mathvision"]) + len(CASES["mmstar"]))
    rng = random.Random(0)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "c")}

    def start(candidate, folder):
        command = [sys.executable, "-m", "vantage", "eval", "m", *copies, "--samples", "2"]
        command += ["--base-url", candidate.url, "--concurrency", "2", "--output", str(folder)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, **quiet)

    scripts = {"3": ["500", "\\boxed{3}"], "7": ["half", "\\boxed{A}"]}
    broken, lost = tmp_path / "broken", 0
    with Candidate(scripts, delay=0.05) as candidate:
        whole = start(candidate, tmp_path / "whole")
        assert whole.wait(120) == 0, whole.stderr.read()
        candidate.asked.clear(), candidate.answered.clear()
        for kill in range(6):
            process = start(candidate, broken)
            before = candidate.asked.total()
            more = rng.randint(1, 7)
            until = time.monotonic() + (rng.uniform(0.2, 2.0) if kill == 0 else 40)
            while time.monotonic() < until and process.poll() is None:
                if candidate.asked.total() - before >= more:
                    time.sleep(rng.uniform(0, 0.08))
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.1)  # let requests in flight finish
            lost += 2
        last = start(candidate, broken)
        assert last.wait(120) == 0, last.stderr.read()
    assert journalled(broken) == journalled(tmp_path / "whole")
    assert set(journalled(broken).values()) == {1}  # kept once each
    assert journalled(broken).total() == total
    assert candidate.answered.total() - total <= lost  # requests in flight at the kill
    assert digest(broken) == digest(tmp_path / "whole")
    assert not list(broken.rglob(".*"))  # no unfinished files are left


def test_killed_local_evaluation_resumes_with_the_same_answers(tiny_model, tmp_path):
    copy = f"mathvision={publish('mathvision', tmp_path / 'data')}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "c")}
    environment["OMP_NUM_THREADS"] = "1"

    def start(folder):
        command = [sys.executable, "-m", "vantage", "eval", tiny_model, copy, "--batch", "2"]
        command += ["--samples", "2", "--max-tokens", "40", "--output", str(folder), "--name", "m"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, **quiet)

    whole = start(tmp_path / "whole")
    assert whole.wait(120) == 0, whole.stderr.read()
    broken = tmp_path / "broken"
    for wanted in (2, 6):
        process = start(broken)
        until = time.monotonic() + 60
        while journalled(broken).total() < wanted and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wanted <= journalled(broken).total()
    last = start(broken)
    assert last.wait(120) == 0, last.stderr.read()
    assert set(journalled(broken).values()) == {1}
    assert journalled(broken).total() == len(CASES["mathvision"])
    before, after = (
        pq.read_table(f / "m" / "mathvision.parquet") for f in (tmp_path / "whole", broken)
    )
    assert before.num_rows == after.num_rows
    assert before.column("id") == after.column("id")
