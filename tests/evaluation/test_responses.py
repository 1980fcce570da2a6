"""A server that fails in every way loses nothing; what was answered is not asked again."""

import base64
import io
import json

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
from vantage.evaluation.exams import exam, own
from vantage.evaluation.responses import Remote, Sampling, key, messages
from vantage.evaluation.run import Framing
from vantage.questions.pictures import picture
from vantage.questions.pixels import Bounds
from vantage.questions.schema import Question, with_step


class Candidate(Loopback):
    """Answers questions by the number behind "row", as its script for it says."""

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


def ask(candidate, asked, folder, *, samples=1, judge=None, framing=None, **settings):
    given = Settings(candidate.url, "m", **{"retries": 2, "timeout": 0.6, **settings})
    model = Remote(given, Sampling(samples, max_tokens=5), concurrency=4)
    how = framing or Framing("{question}")
    return run.evaluate([asked], model, folder, name="m", framing=how, judge=judge)


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


def test_a_server_that_fails_in_every_passing_way_loses_nothing(rows, tmp_path):
    with Candidate(SCRIPTS) as candidate:
        (result,) = ask(candidate, rows(12), tmp_path / "out")
    assert result.questions == 12
    assert result.measures["accuracy"].mean == pytest.approx(9 / 12)  # all but 6, 7 and 8
    assert result.failed == 0
    asked = {n: len(SCRIPTS.get(str(n), "x")) for n in range(12)}
    assert {int(n): count for n, count in candidate.asked.items()} == asked


def test_what_is_missing_stops_it_at_the_end_and_is_asked_for_the_next_time(rows, tmp_path):
    twelve = rows(12)
    with Candidate({"3": ["500"], "5": ["half"]}) as candidate:
        with pytest.raises(EngineError, match=r"rows: 2 answers of the server are missing"):
            ask(candidate, twelve, tmp_path / "out")
        assert not (tmp_path / "out" / "m" / "rows.json").exists()
        before = dict(candidate.asked)
    with Candidate() as candidate:
        (result,) = ask(candidate, twelve, tmp_path / "out")
    assert set(candidate.asked) == {"3", "5"}
    assert sum(before.values()) == 10 + 2 * 3
    assert result.measures["accuracy"].mean == 1


def test_a_request_that_is_refused_for_good_is_a_wrong_answer_with_its_reason(rows, tmp_path):
    import pyarrow.parquet as pq

    with Candidate({"2": ["400"]}) as candidate:
        (result,) = ask(candidate, rows(4), tmp_path / "out")
    assert (result.measures["accuracy"].mean, result.failed) == (0.75, 1)
    kept = pq.read_table(tmp_path / "out" / "m" / "rows.parquet").to_pylist()
    assert [row["failed"] for row in kept] == [None, None, "Error code: 400 - too long", None]
    assert [row["right"] for row in kept] == [True, True, False, True]
    assert "1 without an answer" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(("fault", "words"), [("401", "OPENAI_API_KEY"), ("404", "not found")])
def test_what_no_request_can_mend_stops_at_once(rows, tmp_path, fault, words):
    with Candidate({str(n): [fault] for n in range(60)}) as candidate:
        with pytest.raises(ConfigError, match=words):
            ask(candidate, rows(60), tmp_path / "out")
        assert candidate.asked.total() <= 8


def test_more_samples_ask_for_the_others_alone_and_other_settings_anew(rows, tmp_path):
    four, counts = rows(4), []
    with Candidate() as candidate:
        for samples, framing in ((2, None), (2, None), (4, None), (4, Framing("{question} Now."))):
            ask(candidate, four, tmp_path / "out", samples=samples, framing=framing)
            counts.append(candidate.asked.total())
        sent = [(b["seed"], b["temperature"], b["max_tokens"]) for b in candidate.bodies]
    assert counts == [8, 8, 16, 32]
    assert len({seed for seed, *_ in sent}) == 32
    assert {(heat, longest) for _, heat, longest in sent} == {(0.5, 5)}


def test_samples_are_scored_one_by_one(rows, tmp_path):
    script = ["\\boxed{0}", "\\boxed{9}", "\\boxed{0}", "?"]
    with Candidate({"0": script}) as candidate:
        (result,) = ask(candidate, rows(2), tmp_path / "out", samples=4)
    assert result.measures["accuracy"].mean == pytest.approx((0.5 + 1) / 2)
    assert result.measures["pass@2"].mean == pytest.approx((5 / 6 + 1) / 2)


def test_thoughts_that_the_template_of_a_server_opened_are_none_when_they_are_cut_off(
    rows, tmp_path
):
    scripts = {"0": ["Hm.</think>\\boxed{0}"], "1": ["Is it \\boxed{1}? Let me"]}
    with Candidate(scripts) as candidate:
        (result,) = ask(candidate, rows(2), tmp_path / "out")
    assert result.measures["accuracy"].mean == 0.5
    with Candidate({"1": scripts["1"]}) as candidate:
        (result,) = ask(candidate, rows(2), tmp_path / "other")
    assert result.measures["accuracy"].mean == 1


def test_pictures_are_sent_in_their_places_and_within_the_bounds():
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


def test_the_key_of_a_question_tells_pictures_bounds_and_system_prompts_apart():
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
    """A candidate that also judges, by the reference answer."""

    def reply(self, body):
        text = body["messages"][-1]["content"]
        if body["model"] != "judge":
            return super().reply(body)
        reference = text.partition("Reference answer:\n")[2].partition("\n\n")[0]
        script = self.scripts.get(f"judge {reference}", ["correct"])
        return f"judge {reference}", script[min(self.asked[f"judge {reference}"], len(script) - 1)]


def test_judged_results_stand_beside_those_of_the_rule(rows, tmp_path):
    scripts = {"1": ["one, I think"], "2": ["\\boxed{3}"], "3": ["\\boxed{3}"]}
    scripts |= {"judge 2": ["incorrect"], "judge 3": ["unclear"], "judge 0": ["500", "correct"]}
    with Both(scripts) as both:
        judging = Settings(both.url, "judge", retries=2, timeout=0.6)
        found = ask(both, rows(4), tmp_path / "out", judge=run.Judge(judging, 2))
        again = ask(both, rows(4), tmp_path / "out", judge=run.Judge(judging, 2))
    assert [(one.scored, one.measures["accuracy"].mean) for one in found] == [
        ("rule", 0.5),  # 0 and 3
        ("judge judge", 0.5),  # 0 and 1
    ]
    assert [one.measures for one in again] == [one.measures for one in found]
    assert both.asked.total() == 4 + 5
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| m |")] == [
        "| m | rule | 50.0 ± 56.6 |",
        "| m | judge judge | 50.0 ± 56.6 |",
    ]


def test_an_unclear_answer_without_a_figure_counts_for_the_judge_too(tmp_path):
    asked = exam(f"hallusionbench={publish('hallusionbench', tmp_path / 'data')}")
    with Both({"": ["I cannot know."], "judge yes": ["unclear"], "judge no": ["unclear"]}) as both:
        judging = Settings(both.url, "judge", retries=0)
        found = ask(both, asked, tmp_path / "out", judge=run.Judge(judging, 2))
    alone = sum(row["filename"] is None for row, *_ in CASES["hallusionbench"])
    for result in found:
        assert result.measures["aAcc"].mean == pytest.approx(alone / 12)


def test_two_evaluations_of_one_model_at_a_time_are_refused(rows, tmp_path):
    with (
        Journal(tmp_path / "out" / "m" / "rows.journal.jsonl"),
        Candidate() as candidate,
        pytest.raises(ConfigError, match="in use by another process"),
    ):
        ask(candidate, rows(2), tmp_path / "out")


def test_hostile_responses_are_written_down_as_they_are(rows, tmp_path):
    import pyarrow.parquet as pq

    hostile = ["<script>alert(1)</script> | a | b \n# x \x00", "\ud800 \u202e", "9" * 100_000]
    with Candidate({str(n): [text] for n, text in enumerate(hostile)}) as candidate:
        (result,) = ask(candidate, rows(3), tmp_path / "out", timeout=5)
    kept = pq.read_table(tmp_path / "out" / "m" / "rows.parquet").column("response").to_pylist()
    assert kept == [hostile[0], "? \u202e", hostile[2]]
    assert result.measures["accuracy"].mean == 0
    assert json.loads((tmp_path / "out" / "m" / "rows.json").read_text())[0]["questions"] == 3
