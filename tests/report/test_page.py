"""The content of the page: numbers by hand, and what is shown."""

import base64
import hashlib
import json
import re
import sys
from html import unescape

import numpy as np
import pytest
import steps
from conftest import record_of

from vantage import cli
from vantage.methods.rollouts import Samples
from vantage.record import About, Record, Recorder, Step
from vantage.report import curves, details, page


def _step(number: int, row_N, reward_N, rollout_M, advantage_M) -> Step:
    size, samples = len(reward_N), len(rollout_M)
    question_N = np.unique(row_N, return_inverse=True)[1]
    nothing = np.zeros(samples, dtype=np.int64)
    plan = Samples(
        question_N[rollout_M] if samples else nothing,
        np.array(rollout_M, dtype=np.int64),
        np.array(advantage_M, dtype=float),
        nothing - 1,
        nothing > 0,
        nothing + 1.0,
    )
    return Step(
        number=number,
        row_N=np.array(row_N),
        question_N=question_N,
        epoch_N=np.zeros(size),
        prompt_N=question_N,
        variant_N=np.zeros(size),
        parts={"score": np.array(reward_N, dtype=float)},
        reward_N=np.array(reward_N, dtype=float),
        responses=["text"] * size,
        tokens_N=np.full(size, 10),
        log_prob_N=np.full(size, np.nan),
        samples=plan,
        update_M=nothing,
        prompts={place: steps.Question(f"question {place}") for place in question_N.tolist()},
        seconds={"generate": 2.0, "update": 1.0, "rollout_batch": 4.0},
        metrics={"useful_rollouts": 2.0, "silent_rollouts": 0.5},
        updates=number + 1,
        generated_tokens=10 * size,
    )


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """A run with two batches of questions 5 and 7; the second has a rollout without a score."""
    run = tmp_path_factory.mktemp("by-hand")
    with Recorder(run, About("trl", "grpo", 0, 1)) as recorder:
        recorder.append(_step(0, [5, 5, 7, 7], [1, 0, 0, 0], [0, 1, 2, 3], [0.5, -1.5, 0, 0]))
        recorder.append(_step(1, [5, 5, 7, 7], [1, 1, np.nan, 1], [0], [2.5]))
        recorder.validated(0, {"reward": 0.25}, 1.0)
        recorder.validated(2, {"reward": 0.75, "length": 3.0}, 1.0)
    return Record(run)


def _made(record: Record) -> dict:
    rollouts = record.table("rollouts", page.NUMBERS)
    return curves.curves(record, rollouts, record.table("samples"))


def test_curves_by_hand(by_hand):
    made = _made(by_hand)
    assert made["updates"] == [1, 2] and made["seconds"] == [4, 8] and made["tokens"] == [40, 80]
    assert made["accuracy"] == [0.25, 1.0]
    assert made["signal"]["silent_rollouts"] == [0.5, 0.5]
    assert made["signal"]["useful_per_second"] == [0.5, 0.5]
    assert made["signal"]["repeats"] == [None, None]
    assert made["stages"] == {"generate": 2.0, "update": 1.0, "rest": 1.0}
    assert made["totals"] == {"batches": 2, "rollouts": 8, "tokens": 80, "seconds": 8.0}


def test_a_validation_is_drawn_after_its_rollout_batches(by_hand):
    held = _made(by_hand)["heldout"]
    assert held["measure"] == "reward" and held["value"] == [0.25, 0.75]
    assert held["updates"] == [0, 2] and held["seconds"] == [0, 8] and held["tokens"] == [0, 80]


def test_the_histogram_has_separate_bins_for_zeros_and_large_values(by_hand):
    made = _made(by_hand)["histogram"]
    assert made["batch"] == [0, 1] and made["last"] == 2
    first, second = np.array(made["after"])
    # |advantage| 0.5, 1.5, 0, 0: bins are 0.125 wide, behind that of the zeros.
    assert first[0] == 0.5 and first[1 + 4] == 0.25 and first[1 + 12] == 0.25
    assert second[1 + 20] == 1.0
    before = np.array(made["before"])
    np.testing.assert_allclose(before.sum(axis=1), 1)
    assert before[0][0] == 0.5 and before[1][0] == 1.0  # one question told apart, then none


def test_long_runs_are_averaged_over_batches(by_hand, monkeypatch):
    monkeypatch.setattr(curves, "POINTS", 1)
    made = _made(by_hand)
    assert made["together"] == 2 and made["updates"] == [2] and made["accuracy"] == [0.625]


def test_the_table_of_questions_covers_all_rollouts(by_hand):
    rows = details.questions(by_hand, by_hand.table("rollouts", page.NUMBERS))
    assert rows["row"] == [5, 7] and rows["text"] == ["question 0", "question 1"]
    assert rows["batch"] == [[0, 1], [0, 1]]
    assert rows["success"] == [[0.5, 1.0], [0.0, 1.0]]
    assert rows["contrast"] == [[0.5, 0.0], [0.0, 0.0]]
    assert rows["trained"] == [[2, 1], [2, 0]]


def test_the_accuracy_reward_decides_what_is_right(tmp_path):
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(steps.made(0, reward_N=np.linspace(0, 0.4, 32)))
    found = curves.right(Record(tmp_path).table("rollouts"))
    np.testing.assert_array_equal(found, steps.made(0).parts["accuracy"])


@pytest.mark.parametrize(
    ("parts", "by"),
    [
        (["accuracy", "format"], "accuracy"),
        (["format", "choice"], "choice"),
        (["judge", "numeric"], "numeric"),
        (["mine"], "reward"),
        (["format"], "reward"),
    ],
)
def test_a_correctness_reward_decides_what_is_right(parts, by):
    assert curves.measure(parts) == by


@pytest.mark.parametrize(
    ("metrics", "measure"),
    [
        ({"rewards/accuracy/mean": 0.5, "reward": 0.6}, "accuracy"),
        ({"rewards/format/mean": 1.0, "rewards/choice/mean": 0.5, "reward": 0.6}, "choice"),
        ({"rewards/mine/mean": 0.5, "reward": 0.6}, "reward"),
        ({"accuracy": 0.5}, "accuracy"),
    ],
)
def test_the_page_names_the_held_out_measure(tmp_path, metrics, measure):
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(steps.made(0))
        recorder.validated(1, metrics, 1.0)
    record = Record(tmp_path)
    assert _made(record)["heldout"]["measure"] == measure
    words = "reward (weighted sum)" if measure == "reward" else measure
    shown = page.page([record])
    assert f"<h3>Held-out <bdi>{words}</bdi></h3>" in shown
    assert f"<small><bdi>{measure}</bdi></small>" in shown
    assert "Share of generated rollouts whose <bdi>accuracy</bdi> is above 0.5" in shown


def test_askings_shown_are_the_first_the_last_and_some_between(tmp_path):
    record = record_of(tmp_path, batches=20)
    shown = details.details(record, details.PageBudget())
    assert set(shown) == {"100", "101", "102", "103"}
    assert [asking["batch"] for asking in shown["100"]] == [1, 4, 6, 9, 12, 15, 17, 20]


def test_details_fit_the_room_and_are_the_same_questions_in_every_run(tmp_path):
    records = [record_of(tmp_path / str(n), batches=3) for n in range(2)]
    whole = details.details(records[0], details.PageBudget())
    size = len(json.dumps(next(iter(whole.values()))))
    some = [details.details(record, details.PageBudget(texts=2 * size + 500)) for record in records]
    assert list(some[0]) == list(some[1]) == list(whole)[:2]


def test_images_fit_the_room(tmp_path):
    record = record_of(tmp_path, batches=1)
    room = details.PageBudget(pictures=150)
    shown = details.details(record, room)
    names = [p["pictures"][0][0] for asking in shown.values() for p in asking[0]["prompts"]]
    assert None in names and set(names) - {None} == set(room.shown)
    assert all(data.startswith("data:image/webp;base64,") for data in room.shown.values())


def test_a_modified_image_file_is_not_shown(tmp_path):
    record = record_of(tmp_path, batches=1)
    for place in (tmp_path / "record/pictures").iterdir():
        place.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    room = details.PageBudget()
    details.details(record, room)
    assert room.shown == {}


def test_the_policy_allows_only_the_pages_script_and_style(made_up_run):
    html = page.page([Record(made_up_run)])
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1])
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)


def test_runs_that_differ_only_in_their_seed_are_grouped(tmp_path):
    def run(name, seed, rate):
        about = About("trl", "grpo", seed, 4, settings={"learning_rate": rate})
        return record_of(tmp_path / name, about, batches=1)

    html = page.page([run("a", 1, 1e-6), run("b", 2, 1e-6), run("c", 1, 1e-5)])
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
    assert [one["group"] for one in data["runs"]] == [0, 0, 2]
    assert [one["seeds"] for one in data["runs"]] == [2, 2, 1]
    assert [one["label"] for one in data["runs"]] == ["grpo (a)", "grpo (a)", "grpo (c)"]


def test_runs_with_the_same_name_are_shown_with_their_paths(tmp_path):
    records = [record_of(tmp_path / name / "grpo", batches=1) for name in "ab"]
    html = page.page(records)
    for record in records:
        assert f"<bdi>{record.run}</bdi>" in html


def test_the_command_writes_the_page(made_up_run, tmp_path, monkeypatch, capsys):
    file = tmp_path / "deep" / "page.html"
    monkeypatch.setattr(sys, "argv", ["vantage", "report", str(made_up_run), "-o", str(file)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert "<title>share-shuffle · vantage</title>" in file.read_text()
