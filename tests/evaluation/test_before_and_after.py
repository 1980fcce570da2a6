"""The table of a model before and after training, local and behind a server, is correct."""

import json
import re
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest
import yaml
from served import Served

from vantage.demo import digits
from vantage.demo.cold_start import Settings, cold_start
from vantage.evaluation.differences import Difference

SAMPLES = 3
ASKED = ["--question", "question", "--image", "image", "--samples", SAMPLES, "--max-tokens", 12]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A model that boxes numbers, some of them right."""
    return cold_start(tmp_path_factory.mktemp("cold"), settings=Settings(n=96, steps=60, batch=32))


def recounted(folder) -> dict[str, dict[str, list[bool]]]:
    """Count right answers by model and question, without code of the package.

    Also checks that the journals hold every counted response.
    """
    found = {}
    for path in folder.glob("*/digits.parquet"):
        rows = pq.read_table(path).to_pylist()
        kept = [json.loads(line) for line in path.with_suffix(".journal.jsonl").open()]
        texts = [one["text"] for record in kept for one in record.get("responses", [record])]
        assert Counter(texts) == Counter(row["response"] for row in rows)
        right = defaultdict(list)
        for row in rows:
            boxes = re.findall(r"\\boxed\{(\d+)\}", row["response"])
            right[row["id"]].append(boxes[-1:] == [row["reference"]])
        assert {len(one) for one in right.values()} == {SAMPLES}
        found[path.parent.name] = right
    return found


def told(values: list[float], sign: str = "") -> str:
    """Format the mean in percent, ± half the width of its 95 % interval."""
    count, mean = len(values), sum(values) / len(values)
    error = (sum((one - mean) ** 2 for one in values) / (count - 1) / count) ** 0.5
    return f"{100 * mean:{sign}.1f} ± {196 * error:.1f}"


def test_the_table_agrees_with_the_recorded_answers(vantage, start, tmp_path):
    rows = tmp_path / "digits.parquet"
    digits.questions("test", n=24).to_parquet(rows)
    settings = {
        "model": {"path": str(start), "dtype": "float32"},
        "data": {
            "train": str(rows),
            "template": "{question} Think.",
            "columns": {"question": "question", "image": "image"},
        },
        "run": {"output": str(tmp_path / "run"), "batches": 2},
        "recipe": "grpo",
        "batch": {"questions": 4, "rollouts": 4, "updates": 1, "micro_batch": 16},
        "generation": {"max_tokens": 12},
        "optimizer": {"learning_rate": 1e-3},
        "trl": {"use_cpu": True, "gradient_checkpointing": False, "bf16": False},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    assert vantage("train", tmp_path / "run.yaml")[0] == 0
    run, trained, out = tmp_path / "run", tmp_path / "run" / "model", tmp_path / "out"
    with Served(trained) as server:
        for model, name, more in (
            (start, "before", ["--as", run]),
            (trained, "after", []),
            ("m", "served", ["--as", run, "--base-url", f"{server.url}/"]),
            (trained, "otherwise", ["--template", "{question}"]),
        ):
            arguments = [model, rows, *ASKED, *more, "--name", name, "--output", out]
            status, printed, err = vantage("eval", *arguments)
            assert status == 0, err
    counts = recounted(out)
    means = {
        name: {question: sum(one) / SAMPLES for question, one in right.items()}
        for name, right in counts.items()
    }
    assert 0 < sum(means["before"].values()) < 24  # there is something to count
    lines = (out / "table.md").read_text().splitlines()
    for name, of_question in means.items():
        letter = "B" if name == "otherwise" else "A"
        assert f"| {name} | rule | {letter} | {told(list(of_question.values()))} |" in lines
    names = sorted(means)
    for place, other in enumerate(names):
        for one in names[place + 1 :]:
            gaps = [means[one][question] - means[other][question] for question in means[other]]
            mark = " (asked differently)" if "otherwise" in (one, other) else ""
            assert f"| digits | {one} | {other} | 24 | {told(gaps, '+')}{mark} |" in lines
    gaps = [means["otherwise"][question] - means["after"][question] for question in means["after"]]
    assert f"digits: otherwise - after: {told(gaps, '+')} points (asked differently" in printed


def test_a_difference_of_zero_has_a_plus_sign():
    for mean in (0.0, -0.0, -0.0004):
        assert Difference("b", "m", "o", 9, mean, 0.0, True, (None, None)).points == "+0.0 ± 0.0"
