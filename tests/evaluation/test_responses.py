"""Failures of a server lose no answers, and answered questions are not asked again."""

import base64
import io
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from loopback import Loopback
from PIL import Image
from published import CASES, publish

from vantage.chat import server
from vantage.chat.journal import Journal
from vantage.chat.server import Settings
from vantage.errors import ConfigError, EngineError
from vantage.evaluation import run
from vantage.evaluation.differences import differences
from vantage.evaluation.question_sets import own, question_set
from vantage.evaluation.responses import Remote, Sampling, key, messages
from vantage.evaluation.run import Framing
from vantage.questions.pictures import picture
from vantage.questions.pixels import Bounds
from vantage.questions.schema import Question, with_step


class Candidate(Loopback):
    """Answers the question with a number after "row" by the script for that number."""

    def reply(self, body):
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        number = text.partition("row ")[2].partition("?")[0].partition(")")[0]
        script = self.scripts.get(number, [f"\\boxed{{{number}}}"])
        with self._lock:
            return number, script[min(self.asked[number], len(script) - 1)]


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(server, "_backoff", lambda state: 0.01)


@pytest.fixture
def rows(tmp_path):
    def write(count):
        columns = {
            "prompt": [[{"role": "user", "content": f"Which is row {n}?"}] for n in range(count)],
            "answer": [str(n) for n in range(count)],
        }
        Dataset.from_dict(columns).to_parquet(tmp_path / "rows.parquet")
        return own(str(tmp_path / "rows.parquet"), split="train")

    return write


def reordered(asked):
    return replace(asked, read=lambda place: asked.read(asked.size - 1 - place))


def ask(candidate, asked, folder, *, samples=1, judge=None, framing=None, **settings):
    given = Settings(candidate.url, "m", **{"retries": 2, "timeout": 0.6, **settings})
    model = Remote(given, Sampling(samples, max_tokens=5), concurrency=4)
    how = framing or Framing("{question}")
    return run.evaluate([asked], model, folder, name="m", framing=how, judge=judge).results


SCRIPTS = {
    "0": ["429", "429", "\\boxed{0}"],
    "1": ["500", "\\boxed{1}"],
    "2": ["half", "\\boxed{2}"],
    "3": ["no json", "\\boxed{3}"],
    "4": ["null", "a list", "\\boxed{4}"],
    "5": ["slow", "\\boxed{5}"],
    "6": [""],
    "7": ["lorem ipsum"],
    "8": ["I'm sorry, I cannot."],
}


def test_transient_server_failures_lose_nothing(rows, tmp_path):
    with Candidate(SCRIPTS) as candidate:
        (result,) = ask(candidate, rows(12), tmp_path / "out")
    assert result.questions == 12
    assert result.measures["accuracy"].mean == pytest.approx(9 / 12)  # all but 6, 7 and 8
    assert result.failed == 0
    asked = {n: len(SCRIPTS.get(str(n), "x")) for n in range(12)}
    assert {int(n): count for n, count in candidate.asked.items()} == asked


def test_missing_answers_are_an_error_at_the_end_and_asked_on_rerun(rows, tmp_path):
    twelve = rows(12)
    with Candidate({"3": ["500"], "5": ["half"]}) as candidate:
        with pytest.raises(EngineError, match=r"rows: 2 answers of the server are missing"):
            ask(candidate, twelve, tmp_path / "out")
        assert not (tmp_path / "out" / "m" / "rows.json").exists()
        before = dict(candidate.asked)
        candidate.scripts.clear()
        (result,) = ask(candidate, twelve, tmp_path / "out")
    assert set(candidate.asked - Counter(before)) == {"3", "5"}
    assert sum(before.values()) == 10 + 2 * 3
    assert result.measures["accuracy"].mean == 1


def test_a_permanently_refused_request_is_excluded_and_reported(rows, tmp_path):
    with Candidate({"2": ["400"], "1": ["?"]}) as candidate:
        (result,) = ask(candidate, rows(4), tmp_path / "out")
    assert result.measures["accuracy"].mean == pytest.approx(2 / 3)
    assert (result.questions, result.failed, result.left_out) == (4, 1, 1)
    kept = pq.read_table(tmp_path / "out" / "m" / "rows.parquet").to_pylist()
    assert [row["failed"] for row in kept] == [None, None, "Error code: 400 - too long", None]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "1 responses missing, which excludes 1 questions" in table


def test_no_result_is_written_without_any_answer(rows, tmp_path):
    refused = pytest.raises(EngineError, match=r"rows: no question has an answer: .* too long")
    with Candidate({str(n): ["400"] for n in range(3)}) as candidate, refused:
        ask(candidate, rows(3), tmp_path / "out")
    assert not (tmp_path / "out" / "m" / "rows.json").exists()


@pytest.mark.parametrize(("fault", "words"), [("401", "OPENAI_API_KEY"), ("404", "not found")])
def test_a_permanent_server_error_stops_at_once(rows, tmp_path, fault, words):
    with Candidate({str(n): [fault] for n in range(60)}) as candidate:
        with pytest.raises(ConfigError, match=words):
            ask(candidate, rows(60), tmp_path / "out")
        assert candidate.asked.total() <= 8


def test_more_samples_ask_only_the_new_ones_and_other_settings_ask_all(rows, tmp_path):
    four, counts = rows(4), []
    with Candidate() as candidate:
        for samples, framing in ((2, None), (2, None), (4, None), (4, Framing("{question} Now."))):
            folder = tmp_path / ("now" if framing else "out")
            ask(candidate, four, folder, samples=samples, framing=framing)
            counts.append(candidate.asked.total())
        sent = [(b["seed"], b["temperature"], b["max_tokens"]) for b in candidate.bodies]
    assert counts == [8, 8, 16, 32]
    assert len({seed for seed, *_ in sent}) == 32
    assert {(heat, longest) for _, heat, longest in sent} == {(0.5, 5)}


def test_other_results_are_not_overwritten(rows, tmp_path):
    four, out = rows(4), tmp_path / "out"
    with Candidate() as one, Candidate() as two:
        ask(one, four, out)
        written = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        with pytest.raises(ConfigError, match=f"another server: '{one.url}', now '{two.url}'"):
            ask(two, four, out)
        with pytest.raises(ConfigError, match=r"another template: .*; choose another --name"):
            ask(one, four, out, framing=Framing("{question} Now."))
        with pytest.raises(ConfigError, match=r"another system_prompt: none, now 'Be brief\.'"):
            ask(one, four, out, framing=Framing("{question}", "Be brief."))
        with pytest.raises(ConfigError, match=r"another data: .*rows\.parquet, train \["):
            ask(one, reordered(four), out)
        ask(one, replace(four, source="elsewhere"), out)  # the same questions
        written = {path: path.read_bytes() for path in written}
        assert two.asked.total() == 0
        assert {path: path.read_bytes() for path in written} == written
        ask(one, four, out, samples=2)  # more of the same


def test_answers_of_another_server_are_not_reused(rows, tmp_path):
    two = rows(2)
    with Candidate({"1": ["half"]}) as one, pytest.raises(EngineError):
        ask(one, two, tmp_path / "out")
    with Candidate() as other:
        ask(other, two, tmp_path / "out")
    assert set(other.asked) == {"0", "1"}
    assert [body["seed"] for body in one.bodies[:1]] == [
        body["seed"] for body in other.bodies if body["messages"] == one.bodies[0]["messages"]
    ]


def test_difference_of_two_models_by_hand(rows, tmp_path):
    """The differences of the four shared questions are 0.5, -0.5, -1 and 0."""
    five, out = rows(5), tmp_path / "out"
    wrong = "\\boxed{99}"
    first = {"0": ["\\boxed{0}", wrong], "4": ["400"]}
    second = {"1": ["\\boxed{1}", wrong], "2": [wrong], "3": ["\\boxed{3}"], "0": ["\\boxed{0}"]}
    found = []
    for name, scripts in (("first", first), ("second", second)):
        with Candidate(scripts) as candidate:
            model = Remote(Settings(candidate.url, "m", retries=0), Sampling(2, max_tokens=5), 1)
            found += run.evaluate([five], model, out, name=name, framing=Framing("{question}"))[0]
    (one,) = differences(found)
    assert (one.model, one.other, one.questions, one.alike) == ("second", "first", 4, True)
    gaps = np.array([0.5, -0.5, -1.0, 0.0])
    assert one.mean == pytest.approx(gaps.mean())
    assert one.error == pytest.approx(gaps.std(ddof=1) / 2)
    told = f"| rows | second | first | 4 | -25.0 ± {196 * one.error:.1f} |"
    assert told in (out / "table.md").read_text().splitlines()


def test_each_sample_is_scored(rows, tmp_path):
    script = ["\\boxed{0}", "\\boxed{9}", "\\boxed{0}", "?"]
    with Candidate({"0": script}) as candidate:
        (result,) = ask(candidate, rows(2), tmp_path / "out", samples=4)
    assert result.measures["accuracy"].mean == pytest.approx((0.5 + 1) / 2)
    assert result.measures["pass@2"].mean == pytest.approx((5 / 6 + 1) / 2)


def test_truncated_thoughts_opened_by_a_servers_template_are_not_an_answer(rows, tmp_path):
    closed = {str(n): [f"Hm.</think>\\boxed{{{n}}}"] for n in (0, 2)}
    cut_off = {"1": ["Is it \\boxed{1}? Let me"]}
    with Candidate({**closed, **cut_off}) as candidate:
        (result,) = ask(candidate, rows(3), tmp_path / "out")
    assert result.measures["accuracy"].mean == pytest.approx(2 / 3)
    with Candidate(cut_off) as candidate:
        (result,) = ask(candidate, rows(3), tmp_path / "other")
    assert result.measures["accuracy"].mean == 1


def test_images_are_sent_in_place_and_within_the_bounds():
    shown = picture(Image.new("RGB", (40, 20), "red"))
    question = Question("First <image>, then <image>?", (shown, shown))
    small = with_step(question, Bounds(None, 200))
    (message,) = messages(small)
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    url = message["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == (20, 10)
    assert messages(Question("Why?")) == [{"role": "user", "content": "Why?"}]


def test_the_key_depends_on_images_bounds_and_system_prompt():
    def shown(colour, bounds=None, text="Why?"):
        question = Question("<image>" + text, (picture(Image.new("RGB", (4, 4), colour)),))
        return Framing(bounds=bounds or Bounds())(question)

    asked = [
        shown("red"),
        shown("blue"),
        shown("red", Bounds(None, 8)),
        shown("red", text="Who?"),
        Framing(system_prompt="Be brief.")(shown("red")),
    ]
    assert len({key(one, "m", Sampling()) for one in asked}) == len(asked)
    assert key(asked[0], "m", Sampling()) == key(shown("red"), "m", Sampling(samples=3))
    assert key(asked[0], "m", Sampling()) != key(asked[0], "n", Sampling())


class Both(Candidate):
    """A model that also judges, scripted by the reference answer."""

    def reply(self, body):
        text = body["messages"][-1]["content"]
        if body["model"] != "judge":
            return super().reply(body)
        reference = text.partition("Reference answer:\n")[2].partition("\n\n")[0]
        script = self.scripts.get(f"judge {reference}", ["correct"])
        return f"judge {reference}", script[min(self.asked[f"judge {reference}"], len(script) - 1)]


def test_judged_results_are_added_to_those_of_the_rule(rows, tmp_path):
    scripts = {"1": ["one, I think"], "2": ["\\boxed{3}"], "3": ["\\boxed{3}"]}
    scripts |= {"judge 2": ["incorrect"], "judge 3": ["unclear"], "judge 0": ["500", "correct"]}
    with Both(scripts) as both:
        judging = Settings(both.url, "judge", retries=2, timeout=0.6)
        found = ask(both, rows(4), tmp_path / "out", judge=run.Judge(judging, 2))
        again = ask(both, rows(4), tmp_path / "out", judge=run.Judge(judging, 2))
    assert [(one.scored, one.measures["accuracy"].mean) for one in found] == [
        ("rule", 0.5),  # 0 and 3
        (f"judge judge at {both.url}", 0.5),  # 0 and 1
    ]
    assert [one.measures for one in again] == [one.measures for one in found]
    assert both.asked.total() == 4 + 5
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| m |")] == [
        "| m | rule | A | 50.0 ± 56.6 |",
        f"| m | judge judge at {both.url} | A | 50.0 ± 56.6 |",
    ]


def test_an_unclear_answer_without_a_figure_counts_for_the_judge_too(tmp_path):
    asked = question_set(f"hallusionbench={publish('hallusionbench', tmp_path / 'data')}")
    with Both({"": ["I cannot know."], "judge yes": ["unclear"], "judge no": ["unclear"]}) as both:
        judging = Settings(both.url, "judge", retries=0)
        found = ask(both, asked, tmp_path / "out", judge=run.Judge(judging, 2))
    alone = sum(row["filename"] is None for row, *_ in CASES["hallusionbench"])
    for result in found:
        assert result.measures["aAcc"].mean == pytest.approx(alone / 12)


def test_concurrent_evaluations_of_one_model_are_refused(rows, tmp_path):
    with (
        Journal(tmp_path / "out" / "m" / "rows.journal.jsonl"),
        Candidate() as candidate,
        pytest.raises(ConfigError, match="in use by another process"),
    ):
        ask(candidate, rows(2), tmp_path / "out")


def test_hostile_responses_are_stored(rows, tmp_path):
    hostile = ["<script>alert(1)</script> | a | b \n# x \x00", "\ud800 \u202e", "9" * 100_000]
    with Candidate({str(n): [text] for n, text in enumerate(hostile)}) as candidate:
        (result,) = ask(candidate, rows(3), tmp_path / "out", timeout=5)
    kept = pq.read_table(tmp_path / "out" / "m" / "rows.parquet").column("response").to_pylist()
    assert kept == [hostile[0], "\ufffd \u202e", hostile[2]]
    assert result.measures["accuracy"].mean == 0
    assert json.loads((tmp_path / "out" / "m" / "rows.json").read_text())["questions"] == 3
