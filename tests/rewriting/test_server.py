"""Failures of the server: every row has an outcome, and no request is wasted."""

import json
import time

import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from loopback import Loopback, ways

from vantage.chat import server
from vantage.chat.server import Settings
from vantage.errors import ConfigError
from vantage.rewriting import run
from vantage.rewriting.replies import equivalent, rewrites


def question(name: str) -> str:
    return f"Which basket of those in the market holds pears, the {name} or another?"


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(server, "_backoff", lambda state: 0.01)


@pytest.fixture
def expand(tmp_path):
    """Expand questions on a server; returns summary, rewrites, and rejections by row."""

    def call(loopback, questions, *, answers=None, folder=tmp_path, options=None, **settings):
        rows = {"prompt": questions, "answer": answers or [""] * len(questions)}
        Dataset.from_dict(rows).to_parquet(folder / "rows.parquet")
        rewriter = Settings(loopback.url, "m", **{"retries": 2, "timeout": 0.6, **settings})
        summary = run.expand(
            str(folder / "rows.parquet"),
            folder / "out.parquet",
            rewriter=rewriter,
            **{"rewrites": 2, "verify": False, **(options or {})},
        )
        found = pq.read_table(folder / "out.parquet").column("new_questions").to_pylist()
        lines = (folder / "out.parquet.rejected.jsonl").read_text().splitlines()
        return summary, found, [json.loads(line) for line in lines]

    return call


def good(name: str) -> str:
    return json.dumps(ways(question(name), 2))


def fenced(name: str) -> str:
    return f"Sure [as you like]:\n```json\n{good(name)}\n```\nAnything else?"


# By name: (script of the server, rewrites, reason or None, requests)
SCRIPTS = {
    "good": ([], 2, None, 1),
    "429": (["429", "429", good("429")], 2, None, 3),
    "500": (["500", good("500")], 2, None, 2),
    "half": (["half", good("half")], 2, None, 2),
    "no json": (["no json", good("no json")], 2, None, 2),
    "null": (["null", "a list", good("null")], 2, None, 3),
    "slow": (["slow", good("slow")], 2, None, 2),
    "always 429": (["429"], 0, "server: Error code: 429 - slow down", 3),
    "always 500": (["500"], 0, "server: Error code: 500 - oops", 3),
    "always half": (["half"], 0, "server: Connection error.", 3),
    "always slow": (["slow"], 0, "server: no answer within", 3),
    "too long": (["400"], 0, "server: Error code: 400 - too long", 1),
    "garbage": (["lorem ipsum"], 0, "unreadable: lorem ipsum", 3),
    "garbage once": (["lorem", good("garbage once")], 2, None, 2),
    "empty": ([""], 0, "unreadable: an empty reply", 3),
    "refused": (["I'm sorry, I cannot."], 0, "refusal: I'm sorry", 3),
    "fenced": ([fenced("fenced")], 2, None, 1),
    "few": ([json.dumps(ways(question("few"), 1))], 1, None, 1),
    "many": ([json.dumps(ways(question("many"), 5))], 2, None, 1),
    "double": ([json.dumps(ways(question("double"), 1) * 2)], 1, "copy: a copy of another", 1),
    "itself": ([json.dumps([question("itself")])], 0, "copy: a copy of the question", 1),
}


def test_every_row_has_an_outcome_whatever_the_server_does(expand):
    scripts = {question(name): script for name, (script, *_) in SCRIPTS.items() if script}
    began = time.monotonic()
    with Loopback(scripts) as loopback:
        summary, found, refused = expand(loopback, [question(name) for name in SCRIPTS])
    assert time.monotonic() - began < 15
    reasons = {line["row"]: line["reason"] for line in refused}
    for row, (name, (_, count, reason, requests)) in enumerate(SCRIPTS.items()):
        assert len(found[row]) == count, name
        assert reasons.get(row, "None").startswith(str(reason)), name
        assert loopback.asked[question(name)] == requests, name
    counts = [min(count, 2) for _, count, _, _ in SCRIPTS.values()]
    assert (summary.rows, summary.expanded) == (len(SCRIPTS), counts.count(2))
    assert (summary.partly, summary.kept) == (counts.count(1), counts.count(0))
    assert summary.accepted == sum(counts) == sum(map(len, found))
    assert summary.requests == loopback.asked.total()
    # Tokens of every complete answer count, whether it was usable or not.
    assert summary.prompt_tokens == 7 * loopback.answered.total()
    assert summary.failed.total() + summary.rejected.total() == len(refused)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("401", "set OPENAI_API_KEY"), ("404", "check the base URL"), ("quota", "no credit left")],
)
def test_permanent_errors_stop_the_run_at_once(expand, fault, words, tmp_path):
    questions = [question(str(n)) for n in range(300)]
    with Loopback({q: [fault] for q in questions}) as loopback:
        with pytest.raises(ConfigError, match=words):
            expand(loopback, questions, options={"concurrency": 4})
        assert loopback.asked.total() <= 8
    assert not (tmp_path / "out.parquet").exists()


def test_the_run_stops_after_many_consecutive_failures(expand):
    questions = [question(str(n)) for n in range(300)]
    with Loopback({q: ["500"] for q in questions}) as loopback:
        with pytest.raises(ConfigError, match="40 requests failed in a row, the last one with: "):
            expand(loopback, questions, retries=0)
        assert loopback.asked.total() < 80


def test_connection_error_names_the_address(expand):
    with Loopback() as loopback:
        pass
    questions = [question(str(n)) for n in range(50)]
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1.*onnect"):
        expand(loopback, questions, retries=0)


def test_concurrency_is_limited(expand):
    questions = [question(str(n)) for n in range(20)]
    with Loopback(delay=0.05) as loopback:
        began = time.monotonic()
        expand(loopback, questions, options={"concurrency": 4})
        assert loopback.most == 4
        assert 20 / 4 * 0.05 <= time.monotonic() - began < 5


def test_the_request_rate_is_limited(expand):
    with Loopback() as loopback:
        began = time.monotonic()
        expand(loopback, [question(str(n)) for n in range(6)], per_minute=1200)
        assert time.monotonic() - began >= 5 * 60 / 1200


def test_the_judge_decides_last(expand):
    says = {"now": "No.", "now now": "Perhaps"}

    def judge(text):
        return says.get(text.partition("me ")[2].partition(" the")[0], "<think>no?</think> Yes!")

    script = json.dumps(ways(question("a"), 4))
    with Loopback({question("a"): [script]}, judge=judge) as loopback:
        _, found, refused = expand(loopback, [question("a")], options={"verify": True})
    assert found == [[ways(question("a"), 4)[n] for n in (0, 3)]]
    assert [line["reason"] for line in refused] == [
        "judge: not equivalent",
        "judge: neither yes nor no: Perhaps",
    ]
    assert [body["temperature"] for body in loopback.bodies] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_equal_rows_share_one_request(expand):
    with Loopback() as loopback:
        summary, found, _ = expand(loopback, [question("a"), question("b"), question("a")])
    assert loopback.asked.total() == summary.requests == 2
    assert found[0] == found[2] != found[1]


def test_only_changed_settings_repeat_requests(expand):
    asked = []
    with Loopback(delay=0.0) as loopback:
        for options in ({}, {}, {"rewrites": 1}, {"verify": True}, {}):
            expand(loopback, [question("a")], options=options)
            asked.append(loopback.asked[question("a")])
        expand(loopback, [question("a")], answers=["pears"])
        asked.append(loopback.asked[question("a")])
    assert asked == [1, 1, 2, 2, 2, 3]


def test_unanswered_rows_are_requested_again_in_the_next_run(expand):
    with Loopback({question("a"): ["500", good("a")]}) as loopback:
        first, *_ = expand(loopback, [question("a"), question("b")], retries=0)
        second, *_ = expand(loopback, [question("a"), question("b")], retries=0)
    assert (first.kept, first.requests) == (1, 2)
    assert (second.kept, second.requests) == (0, 1)


REPLIES = [
    ('["a", "b"]', ["a", "b"]),
    ('Here:\n```json\n["a", "b"]\n```', ["a", "b"]),
    ('<think>["no"] or</think>["a", "b"]', ["a", "b"]),
    ('{"rewrites": ["a", "b"]}', ["a", "b"]),
    ('[{"question": "a"}, {"question": "b"}]', ["a", "b"]),
    ('On [0, 1]: ["a", "b"]', ["a", "b"]),
    ('["a\nb", "c"]', ["a\nb", "c"]),
    ('["a\\nA. 5", "c"]', ["a\nA. 5", "c"]),
    (r'["Is $\frac{1}{2}$?", "\theta \\beta \pi \u00e9 \"x\""]', None),
    ("1. a\n2. b\n", ["a", "b"]),
    ("Sure:\n1) a\nA. 5\nB. 6\n2) b\n\nAnything else?", ["a\nA. 5\nB. 6", "b"]),
    ('1. "a"\n2. "b"', ["a", "b"]),
    ('["a", " ", ""]', ["a"]),
    ('["a", "b', []),
    ("[1, 2]", []),
    ("", []),
    ("[" * 100_000, []),
    ("a question?", []),
]


@pytest.mark.parametrize(("reply", "texts"), REPLIES, ids=[reply[:20] for reply, _ in REPLIES])
def test_rewrites_are_parsed_from_any_reply_format(reply, texts):
    if texts is None:
        texts = ["Is $\\frac{1}{2}$?", '\\theta \\beta \\pi \u00e9 "x"']
    assert rewrites(reply) == texts


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("Yes", True), ("no.", False), ("**Yes**, they do.", True), ("yes and no", None), ("", None)],
)
def test_verdicts_are_yes_no_or_unclear(reply, verdict):
    assert equivalent(reply) is verdict
