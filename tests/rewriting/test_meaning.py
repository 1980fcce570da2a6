"""Rewrites that pass the guards but change the meaning are found by the judge."""

import json
import time

import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from loopback import Loopback

from vantage.rewriting import guards, report, run

# By question: a rewrite with the same answer and one with another. The guards accept both.
PAIRS = {
    "Which of the ropes in the shed is longer?": (
        "Of the ropes in the shed, which one is the longer?",
        "Which of the ropes in the shed is shorter?",
    ),
    "What does Tom eat before he goes to school?": (
        "Before he goes to school, what does Tom eat?",
        "What does Tom eat after he goes to school?",
    ),
    "Which fruit lies to the left of the plate?": (
        "To the left of the plate, which fruit lies there?",
        "Which fruit lies to the right of the plate?",
    ),
    "What is the area of the rectangle shown?": (
        "Find the area of the rectangle shown.",
        "What is the perimeter of the rectangle shown?",
    ),
    "A shelf has 5 red books and 6 blue books. Find the share of red books.": (
        "There are 5 red books and 6 blue books on a shelf. What share is red?",
        "A shelf has 6 red books and 5 blue books. Find the share of red books.",
    ),
    "Which bar of the chart is the highest?": (
        "In the chart, which bar is the highest?",
        "Which bar of the chart is the lowest?",
    ),
    "How many people entered the shop?": (
        "What is the number of people that entered the shop?",
        "How many people left the shop?",
    ),
    "Which side of the building is in the light?": (
        "What side of the building has light on it?",
        "Which side of the building is in the shadow?",
    ),
    "Who is the oldest of the children?": (
        "Of the children, who is the oldest?",
        "Who is the youngest of the children?",
    ),
    "Is the glass above the shelf?": (
        "Does the glass stand above the shelf?",
        "Is the glass below the shelf?",
    ),
    "Welche Stadt liegt nördlich?": ("Nördlich liegt welche Stadt?", "Welche Stadt liegt südlich?"),
    "哪条线更长?": ("更长的是哪条线?", "哪条线更短?"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


class Careless(Loopback):
    """Gives one right and one wrong rewrite per question, and judges them correctly."""

    def __init__(self):
        super().__init__({question: [json.dumps(pair)] for question, pair in PAIRS.items()})
        good = {rewrite for rewrite, _ in PAIRS.values()}
        self.judge = lambda asked: "yes" if asked.removeprefix("judge: ") in good else "no"


@pytest.fixture
def expand(vantage, tmp_path):
    """A function that calls `vantage expand`; returns status, output and rewrites."""
    rows = {"prompt": list(PAIRS), "answer": [""] * len(PAIRS)}
    Dataset.from_dict(rows).to_parquet(tmp_path / "rows.parquet")

    def call(*options):
        out = tmp_path / "out.parquet"
        status, printed, _ = vantage(
            "expand", tmp_path / "rows.parquet", "--output", out, "--rewrites", 2, *options
        )
        return status, printed, pq.read_table(out).column("new_questions").to_pylist()

    return call


def test_guards_accept_these_changes_of_meaning():
    pairs = [guards.Pair(asked, said) for asked, both in PAIRS.items() for said in both]
    assert [guards.reason(pair) for pair in pairs] == [None] * 24


def test_the_judge_rejects_only_rewrites_with_another_meaning(expand, tmp_path):
    with Careless() as loopback:
        status, printed, found = expand("--base-url", loopback.url, "--model", "m")
        asked = loopback.asked.total()
        again = expand("--base-url", loopback.url, "--model", "m")
        assert (
            loopback.asked.total() == asked == 12 + 24
        )  # one request per rewrite, without repeats
    assert status == 0
    assert found == again[2] == [[good] for good, _ in PAIRS.values()]  # 12 caught, none lost
    lines = (tmp_path / "out.parquet.rejected.jsonl").read_text().splitlines()
    refused = {line["rewrite"]: line["reason"] for line in map(json.loads, lines)}
    assert refused == {bad: "judge: not equivalent" for _, bad in PAIRS.values()}
    rows = {row.split("│")[1].strip(): row.split("│")[2].strip() for row in table(printed)}
    assert rows["meaning checked by the server"] == "12"
    assert rows["meaning not checked"] == "0"
    assert "no server was asked" not in printed


def test_unchecked_rewrites_are_remarked(expand):
    with Careless() as loopback:
        _, printed, found = expand("--base-url", loopback.url, "--model", "m", "--no-verify")
        assert loopback.asked.total() == 12
    assert found == [list(both) for both in PAIRS.values()]
    assert "24 rewrites passed the guards, but no server was asked" in printed
    _, printed, found = expand("--built-in")
    assert found[3]
    assert f"{len(found[3])} rewrites passed the guards" in printed


def table(printed):
    return [line for line in printed.splitlines() if line.count("│") == 3]


def test_a_reply_with_thousands_of_rewrites_is_processed_quickly():
    question = next(iter(PAIRS))
    texts = [f"Please {'now ' * (n % 7)}tell me: {question[: 30 + n % 11]}" for n in range(3_200)]
    seen: list[str] = []
    began = time.process_time()
    outcome = run._guarded(run.Item(0, question, ""), texts)
    assert time.process_time() - began < 10  # it took 33 s
    seen = [guards.wording(text) for text in outcome.accepted]
    assert len(set(seen)) == len(seen)
    assert len(outcome.accepted) + len(outcome.rejected) == 3_200


def test_only_the_first_rewrites_of_a_long_reply_are_used(tmp_path):
    question = next(iter(PAIRS))
    texts = [f"Tell me, number {'very ' * n}please: {question}" for n in range(9)]
    Dataset.from_dict({"prompt": [question], "answer": [""]}).to_parquet(tmp_path / "rows.parquet")
    with Loopback({question: [json.dumps(texts * 100)]}, judge="no") as loopback:
        summary = run.expand(
            str(tmp_path / "rows.parquet"),
            tmp_path / "out.parquet",
            rewrites=1,
            rewriter=run_settings(loopback),
        )
    assert summary.rejected.total() == run.SPARE
    assert loopback.asked.total() <= 1 + run.SPARE


def run_settings(loopback):
    from vantage.chat.server import Settings

    return Settings(loopback.url, "m", retries=0)


def test_a_summary_without_rewrites_has_no_remark():
    assert report.remark(run.Summary(2)) is None
