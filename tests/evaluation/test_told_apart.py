"""Results of different models, data or settings never overwrite each other or share a cell."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from PIL import Image
from test_responses import Both, Candidate, ask

from vantage.chat import server
from vantage.chat.server import Settings
from vantage.errors import ConfigError, EngineError, InputError
from vantage.evaluation import run
from vantage.evaluation.differences import differences
from vantage.evaluation.question_sets import own, question_set, question_sets
from vantage.evaluation.responses import Remote, Sampling
from vantage.evaluation.results import read_all
from vantage.evaluation.run import Framing, framing


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(server, "_backoff", lambda state: 0.01)


def rows(path, numbers=range(4), colour=None):
    """Write questions whose answers are these numbers, with images if a colour is given."""
    path.parent.mkdir(exist_ok=True)
    columns = {"prompt": [f"Which is row {n}?" for n in numbers], "answer": [*map(str, numbers)]}
    if colour:
        columns["image"] = [Image.new("RGB", (4, 4), colour)] * len(columns["answer"])
    Dataset.from_dict(columns).to_parquet(path)
    return own(str(path), split="train")


@pytest.fixture
def four(tmp_path):
    return rows(tmp_path / "rows.parquet")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def measured(one, asked, out, name="m", **sampling):
    """Call `ask` with another name or other sampling settings."""
    model = Remote(Settings(one.url, "m", retries=0), Sampling(1, **sampling), 4)
    return run.evaluate([asked], model, out, name=name, framing=Framing("{question}"))


def judging(both, model="judge"):
    return run.Judge(Settings(both.url, model, retries=0), 2)


def table_of(out):
    return (out / "table.md").read_text().splitlines()


def own_rows(out):
    """Return the start of each row of the table that is not a published figure."""
    lines = table_of(out)
    return [line for line in lines[2 : lines.index("")] if "(published)" not in line]


# Judges


@pytest.mark.parametrize("first", ["with", "without"])
def test_rerun_with_or_without_a_judge_keeps_the_other_results(four, out, first):
    with Both({"judge 2": ["incorrect"]}) as both:
        for judge in (judging(both), None) if first == "with" else (None, judging(both)):
            ask(both, four, out, judge=judge)
            before = contents(out / "m")
        ask(both, four, out)
        ask(both, four, out, judge=judging(both))
    assert contents(out / "m") == before
    assert [one.scored for one in read_all(out)] == ["rule", f"judge judge at {both.url}"]
    assert both.asked.total() == 8
    assert own_rows(out) == [
        "| m | rule | A | 100.0 ± 0.0 |",
        f"| m | judge judge at {both.url} | A | 75.0 ± 49.0 |",
    ]
    (verdicts,) = (out / "m").glob("rows.judge-judge-*.parquet")
    assert pq.read_table(verdicts).column("judged").to_pylist() == [True, True, False, True]
    assert "judged" not in pq.read_table(out / "m" / "rows.parquet").column_names


def test_judges_with_one_name_on_two_servers_are_distinct(four, out):
    with Both() as one, Both({"judge 1": ["incorrect"]}) as two:
        ask(one, four, out, judge=judging(one))
        ask(one, four, out, judge=judging(two))
        ask(one, four, out, judge=judging(two, "other"))
    assert two.asked["judge 1"] == 1
    judged = {one.scored: one.measures["accuracy"].mean for one in read_all(out)}
    assert judged[f"judge judge at {one.url}"] == 1
    assert judged[f"judge judge at {two.url}"] == 0.75
    assert len(judged) == 4 == len(own_rows(out))
    told = f"- judge judge at {two.url}: model judge, server {two.url}, temperature 0.0, wording "
    assert any(line.startswith(told) for line in table_of(out))


def test_missing_verdicts_are_excluded_and_failed_responses_are_not_judged(four, out):
    with Both({"0": ["400"], "judge 1": ["400"], "judge 2": ["incorrect"]}) as both:
        by_rule, judged = ask(both, four, out, judge=judging(both))
        assert "judge 0" not in both.asked
        both.scripts.clear()
        again, judged_again = ask(both, four, out, judge=judging(both))
    assert (by_rule.failed, by_rule.left_out, by_rule.measures["accuracy"].mean) == (1, 1, 1)
    assert (judged.failed, judged.left_out, judged.measures["accuracy"].mean) == (2, 2, 0.5)
    assert (again.left_out, judged_again.left_out) == (0, 0)  # failed requests were sent again
    assert judged_again.measures["accuracy"].mean == 0.75
    assert both.asked.total() == 4 + 1 + 3 + 2


def test_results_of_the_rule_remain_if_the_judge_refuses_everything(four, out):
    refused = pytest.raises(EngineError, match="no question has a verdict")
    with Both({f"judge {n}": ["400"] for n in range(4)}) as both, refused:
        ask(both, four, out, judge=judging(both))
    assert [one.scored for one in read_all(out)] == ["rule"]
    assert own_rows(out) == ["| m | rule | A | 100.0 ± 0.0 |"]


# Fewer and more questions or samples


@pytest.mark.parametrize(
    ("size", "samples", "words"),
    [
        (3, 2, "4 questions, which 3 would replace: set --limit 4 or more"),
        (4, 1, "2 samples, which 1 would replace: set --samples 2 or more"),
        (5, 1, "2 samples"),
        (3, 3, "4 questions"),
    ],
)
def test_results_are_not_replaced_by_fewer_questions_or_samples(
    tmp_path, out, size, samples, words
):
    six = rows(tmp_path / "rows.parquet", range(6))
    with Candidate() as one:
        ask(one, replace(six, size=4), out, samples=2)
        before, asked = contents(out), one.asked.total()
        with pytest.raises(ConfigError, match=words):
            ask(one, replace(six, size=size), out, samples=samples)
        assert (contents(out), one.asked.total()) == (before, asked)
        (result,) = ask(one, six, out, samples=3)
    assert (result.questions, result.samples, one.asked.total()) == (6, 3, 18)


def test_a_subset_of_the_questions_gets_a_separate_column(four, out):
    with Candidate() as one:
        measured(one, four, out, "all")
        measured(one, replace(four, size=2), out, "two")
    first, second = (one.origin["questions"][:6] for one in read_all(out))
    assert table_of(out)[0] == f"| model | scored by | asked | rows [{first}] | rows [{second}] |"
    assert own_rows(out) == [
        "| all | rule | A | 100.0 ± 0.0 |  |",
        "| two | rule | A |  | 100.0 ± 0.0 |",
    ]


# Data sets with one name


def test_data_sets_with_one_name_get_separate_columns(tmp_path, out):
    one, two = rows(tmp_path / "a" / "test.parquet"), rows(tmp_path / "b" / "test.parquet", [7, 8])
    with Candidate({"8": ["?"]}) as candidate:
        measured(candidate, one, out, "first")
        measured(candidate, two, out, "second")
        with pytest.raises(ConfigError, match=r"another data: .*a/test.*now .*b/test"):
            measured(candidate, rows(tmp_path / "b" / "test.parquet", [1, 2, 3, 4]), out, "first")
    marks = [f"test [{one.origin['questions'][:6]}]" for one in read_all(out)]
    assert len(set(marks)) == 2
    assert table_of(out)[0].endswith(f" | {marks[0]} | {marks[1]} |")
    assert differences(read_all(out)) == []
    assert [line.split(",")[3] for line in (out / "table.csv").read_text().splitlines()[1:]] == [
        marks[0],
        marks[1],
    ]
    assert any(f"questions of {tmp_path}/a/test.parquet, train" in line for line in table_of(out))


def test_the_same_questions_at_another_path_are_the_same_data(tmp_path, out):
    with Candidate({"1": ["?"]}) as candidate:
        measured(candidate, rows(tmp_path / "a" / "test.parquet"), out, "first")
        measured(candidate, rows(tmp_path / "b" / "test.parquet"), out, "second")
        measured(candidate, rows(tmp_path / "b" / "test.parquet"), out, "first")
    assert table_of(out)[0] == "| model | scored by | asked | test |"
    assert [one.questions for one in differences(read_all(out))] == [4]


def test_other_images_or_answers_are_other_data(tmp_path, out):
    made = {
        "red": rows(tmp_path / "rows.parquet", colour="red"),
        "blue": rows(tmp_path / "b" / "rows.parquet", colour="blue"),
        "none": rows(tmp_path / "c" / "rows.parquet"),
    }
    Dataset.from_dict({"prompt": ["Which is row 0?"], "answer": ["1"]}).to_parquet(
        tmp_path / "d.parquet"
    )
    made["answer"] = own(str(tmp_path / "d.parquet"), split="train", name="rows")
    with Candidate() as candidate:
        for name, asked in made.items():
            measured(candidate, asked, out, name)
    assert len({one.origin["questions"] for one in read_all(out)}) == 4
    assert differences(read_all(out)) == []


@pytest.mark.parametrize("name", ["mathvista", "MathVista", "mathvista/", ".mathvista", "AI2D"])
def test_own_data_cannot_have_the_name_of_a_benchmark(tmp_path, name):
    rows(tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="has the name of the benchmark"):
        own(str(tmp_path / "x.parquet"), name=name, split="train")
    (tmp_path / "x.parquet").rename(tmp_path / f"{name.strip('./')}.parquet")
    with pytest.raises(ConfigError, match="has the name of the benchmark"):
        question_set(str(tmp_path / f"{name.strip('./')}.parquet"), split="train")


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    rows(tmp_path / "x.parquet")
    path = tmp_path / "x.parquet"
    with pytest.raises(ConfigError, match="give each only once"):
        question_sets([f"Mine={path}", f"mine={path}"], split="train")


# Models with one name


def test_a_name_cannot_be_used_for_two_models(tmp_path, four, out):
    five = rows(tmp_path / "five.parquet", range(5))
    with Candidate() as one, Candidate() as two:
        measured(one, four, out)
        with pytest.raises(ConfigError, match="another server"):
            measured(two, five, out)
        assert two.asked.total() == 0
        measured(one, four, out, "m/n")
        with pytest.raises(ConfigError, match="another name: 'm/n', now 'm-n'"):
            measured(one, four, out, "m-n")
        measured(one, five, out)
    assert own_rows(out)[0].startswith("| m | rule | A | 100.0")


def test_results_with_one_name_in_two_directories_are_separate_rows(four, out):
    with Candidate({"1": ["?"]}) as one:
        measured(one, four, out)
    shutil.copytree(out / "m", out / "kept")
    with Candidate() as other:
        measured(other, four, out, "n")
    assert own_rows(out) == [
        "| m [kept] | rule | A | 75.0 ± 49.0 |",
        "| m [m] | rule | A | 75.0 ± 49.0 |",
        "| n | rule | A | 100.0 ± 0.0 |",
    ]
    assert [(one.model, one.other) for one in differences(read_all(out))] == [
        ("m [m]", "m [kept]"),
        ("n", "m [kept]"),
        ("n", "m [m]"),
    ]


def test_differences_survive_moving_the_results_directory(four, out, tmp_path):
    with Candidate({"1": ["?"]}) as one, Candidate() as other:
        measured(one, four, out)
        measured(other, four, out, "n")
        out.rename(tmp_path / "moved")
        (tmp_path / "moved" / "m").rename(tmp_path / "moved" / "renamed")
        found = measured(other, four, tmp_path / "moved", "n")
        assert other.asked.total() == 4
    assert [(one.model, one.other, one.questions) for one in found.differences] == [("m", "n", 4)]


def test_one_model_with_two_names_gives_two_equal_rows(four, out):
    with Candidate({"1": ["?"]}) as one:
        measured(one, four, out, "first")
        (gap,) = measured(one, four, out, "second").differences
    assert (gap.mean, gap.error, gap.alike) == (0, 0, True)


def test_a_trailing_slash_in_a_server_address_is_ignored(four, out):
    with Candidate() as one:
        ask(one, four, out)
        before = contents(out)
        one.url += "/"
        ask(one, four, out)
        assert one.asked.total() == 4
    assert contents(out) == before


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"temperature": 1.0}, "another temperature: 0.5, now 1.0"),
        ({"max_tokens": 7}, "another max_tokens: 2048, now 7"),
        ({"seed": 1}, "another seed: 0, now 1"),
    ],
)
def test_other_sampling_settings_get_another_letter(four, out, sampling, words):
    with Candidate() as one:
        measured(one, four, out)
        with pytest.raises(ConfigError, match=words):
            measured(one, four, out, **sampling)
        (gap,) = measured(one, four, out, "n", **sampling).differences
    assert not gap.alike
    assert [row.split(" | ")[2] for row in own_rows(out)] == ["A", "B"]
    assert {line.split(",")[-1] for line in (out / "table.csv").read_text().splitlines()[1:]} == {
        "A",
        "B",
    }


def test_resuming_with_other_options_does_not_mix_answers(four, out):
    with Candidate({"3": ["500"]}) as one:
        with pytest.raises(EngineError, match="missing"):
            measured(one, four, out)
        one.scripts["3"] = ["\\boxed{3}"]
        (result,) = measured(one, four, out, temperature=1.0).results
        heats = [body["temperature"] for body in one.bodies]
    assert heats == [0.5] * 4 + [1.0] * 4
    assert result.asked["temperature"] == 1.0


# Responses of a server


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (None, 0),
        (" ", 0),
        ("\\boxed{}", 0),
        ("<think>\\boxed{1}", 0),
        ("<think>\\boxed{9}</think>\\boxed{1}", 1),
        ("<think>\\boxed{1}</think>\\boxed{9}", 0),
        ("\\boxed{9} no, \\boxed{1}", 1),
        ("x" * 200_000 + "\\boxed{1}", 1),
        ("**Answer:**\n\n1", 0),  # own data requires a box
    ],
    ids=lambda value: str(value)[:20],
)
def test_response_is_scored(tmp_path, out, said, right):
    with Candidate({"1": [said]}) as one:
        (result,) = measured(one, rows(tmp_path / "x.parquet", [1]), out).results
    assert (result.measures["accuracy"].mean, result.failed) == (right, 0)
    (kept,) = pq.read_table(out / "m" / "x.parquet").column("response").to_pylist()
    assert kept == (said or "")


# Files that are damaged, foreign or of another version


def edited(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


MEASURE = {"mean": 0.5, "error": 0.1}
DAMAGED = {
    "empty": lambda text: "",
    "half": lambda text: text[:40],
    "a list, as once": lambda text: f"[{text}]",
    "null": lambda text: "null",
    "another field": edited(more=1),
    "a missing field": lambda text: text.replace('"left_out"', '"left"'),
    "a mean over 1": edited(measures={"accuracy": {**MEASURE, "mean": 50}}),
    "a mean of NaN": edited(measures={"accuracy": {**MEASURE, "mean": float("nan")}}),
    "a mean in words": edited(measures={"accuracy": {**MEASURE, "mean": "half"}}),
    "a measure without an error": edited(measures={"accuracy": {"mean": 0.5}}),
    "measures in a list": edited(measures=[0.5]),
    "questions in words": edited(questions="four"),
    "questions that are true": edited(questions=True),
    "a model that is a number": edited(model=3),
    "no origin": edited(origin={}),
    "a judge without a server": edited(judge={"model": "x"}),
    "a judge by name": edited(judge="x"),
    "asked in a list": edited(asked=[]),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_error_names_a_damaged_result_before_anything_is_asked(four, out, damage):
    with Candidate() as one:
        measured(one, four, out, "n")
        file = out / "n" / "rows.json"
        file.write_text(DAMAGED[damage](file.read_text()))
        for name in ("m", "n"):
            with pytest.raises(InputError, match=r"n/rows\.json is not a result of this version"):
                measured(one, four, out, name)
        assert one.asked.total() == 4


def test_error_names_damaged_responses_and_missing_responses_give_no_difference(four, out):
    with Candidate() as one:
        measured(one, four, out)
        (out / "m" / "rows.parquet").write_bytes(b"PAR1")
        with pytest.raises(InputError, match=r"m/rows\.parquet' cannot be read: it is damaged"):
            measured(one, four, out, "n")
        assert (out / "n" / "rows.json").is_file()
        (out / "m" / "rows.parquet").unlink()
        found = measured(one, four, out, "n")
        assert (found.differences, one.asked.total()) == ([], 8)
    assert len(own_rows(out)) == 2


# Settings


def test_differences_are_computed_once(tmp_path, four, out, monkeypatch):
    asked = [four, rows(tmp_path / "five.parquet", range(5))]
    called = []
    monkeypatch.setattr(run, "differences", lambda known: called.append(len(known)) or [])
    with Candidate() as one:
        model = Remote(Settings(one.url, "m"), Sampling(1), 4)
        run.evaluate(asked, model, out, name="m", framing=Framing("{question}"))
    assert called == [2]


def test_options_override_the_framing_of_a_run(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "model: {path: m}\ndata: {train: x, template: 'Say {question}', system_prompt: Be brief.}\n"
    )
    nothing = (None, None, None)
    assert framing("m", tmp_path, *nothing, None).system_prompt == "Be brief."
    assert framing("m", tmp_path, None, "", None, None).system_prompt is None
    with pytest.raises(ConfigError, match=r"template='' does not contain \{question\}"):
        framing("m", tmp_path, "", None, None, None)
