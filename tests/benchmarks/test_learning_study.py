"""The learning study made small: what it runs, what it keeps, and that its page is its results."""

import importlib
import json
import os

import pandas as pd
import pytest
import torch
from study import page, running, tasks
from study.arms import ABLATIONS, ARMS, EVERY, ROLLOUTS, base_of
from study.running import Job
from study.tasks import Task

from vantage.methods.recipe import parse_recipe

learning = importlib.import_module("learning")
SPLITS = {"reinforcement": 300, "validation": 8, "test": 8}
TINY = Task(2, 5, 12)
RATE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a study of one batch of rollouts has prepared its task."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tasks, "SPLITS", SPLITS)
        patched.setitem(tasks.TASKS, "two", TINY)
        patched.setattr(running, "BATCHES", 2)
        patched.setattr(running, "EVALUATED_EVERY", 1)
        made = tmp_path_factory.mktemp("study")
        tasks.prepare("two", 0, made)
        yield made
    torch.set_num_threads(threads)


def trained(folder, arm: str, stage: str = "test") -> pd.DataFrame:
    job = Job(stage, "two", arm, 0, RATE)
    running.train(job, EVERY[arm], folder)
    return pd.read_parquet(folder / "results" / f"{job.name}.parquet")


@pytest.mark.parametrize("arm", EVERY)
def test_every_arm_generates_as_many_rollouts_a_batch(arm):
    made = EVERY[arm]
    assert made.questions * made.prompts * made.rollouts == ROLLOUTS
    assert parse_recipe(made.recipe).shares <= (made.prompts > 1)
    assert base_of(arm) in ARMS


@pytest.mark.parametrize("arm", ["grpo", "share-shuffle"])
def test_a_training_leaves_a_row_a_batch_with_running_sums(folder, arm):
    rows = trained(folder, arm)
    assert rows["batch"].tolist() == [0, 1, 2]
    assert rows["rollouts"].tolist() == [0, ROLLOUTS, 2 * ROLLOUTS]
    assert rows["updates"].tolist() == [0, 4, 8]
    assert rows["accuracy"].notna().all() and rows["accuracy"].between(0, 1).all()
    assert (rows["seconds"][1:] > rows["seconds_update"][1:]).all()
    assert json.loads(rows["settings"][0])["optimizer"]["learning_rate"] == RATE


def test_a_training_that_has_ended_is_not_run_again(folder):
    trained(folder, "grpo")
    (file,) = (folder / "results").glob("test_two_grpo_*")
    os.utime(file, (1, 1))
    trained(folder, "grpo")
    assert file.stat().st_mtime == 1


def test_the_same_training_gives_the_same_accuracies(folder):
    first = trained(folder, "shuffle-r1")
    (file,) = (folder / "results").glob("test_two_shuffle-r1_*")
    file.unlink()
    again = trained(folder, "shuffle-r1")
    same = ["accuracy", "silent_rollouts", "samples", "reward"]
    pd.testing.assert_frame_equal(first[same], again[same])


def test_a_recipe_that_refills_ends_when_the_rollouts_of_the_budget_are_spent(folder):
    rows = trained(folder, "dapo-filter")  # an untrained model gives silent questions
    assert rows["rollouts"].iloc[-1] >= 2 * ROLLOUTS
    assert rows["batch"].iloc[-1] == 1
    assert rows["accuracy"].notna().iloc[-1]


def test_a_rate_at_the_edge_is_followed_outward(folder, monkeypatch):
    tried = []
    monkeypatch.setattr(running, "train", lambda job, *_: tried.append(job.learning_rate))
    monkeypatch.setattr(running, "late_accuracy", lambda _, job: -abs(job.learning_rate - 2.4e-4))
    learning.tune("two", "grpo", 0, folder)
    assert tried == [3e-5, 6e-5, 1.2e-4, 2.4e-4, 4.8e-4]


def test_a_variation_is_trained_at_the_rate_that_was_best_for_its_arm(folder, monkeypatch):
    trained(folder, "shuffle-r1", "tuning")
    jobs = []
    monkeypatch.setattr(running, "train", lambda job, *_: jobs.append(job))
    learning.test("two", "keep 0.25", 0, folder)
    learning.choose("two", "keep 0.25", 0, folder)
    assert [(job.learning_rate, job.split) for job in jobs] == [
        (RATE, "test"),
        (RATE, "validation"),
    ]


def test_collecting_puts_all_trainings_in_one_file_without_paths(folder, monkeypatch):
    trained(folder, "grpo")
    monkeypatch.setattr(learning, "RESULTS", folder / "all.parquet")
    monkeypatch.setattr(learning, "COMPARED", folder / "none.parquet")
    learning.collect(folder)
    found = pd.read_parquet(folder / "all.parquet")
    assert len(found.groupby(["stage", "arm"])) == len(list((folder / "results").iterdir()))
    assert not found["settings"].str.contains(str(folder)).any()
    assert not learning.COMPARED.exists()  # nothing was compared


def test_the_pages_show_the_stored_results():
    results, compared = (pd.read_parquet(f) for f in (learning.RESULTS, learning.COMPARED))
    made = page.blocks(results, compared, list(tasks.TASKS))
    for file in learning.PAGES:
        text = file.read_text()
        assert "<!-- end -->" in text and page.fill(text, made) == text


def test_every_arm_of_the_study_is_on_its_page_with_five_seeds_on_each_task():
    runs = page.runs_of(pd.read_parquet(learning.RESULTS), "test")
    for task in ("two", "four"):
        for arm in ARMS:
            assert len(runs[task, arm]) >= 5, (task, arm)
    assert all(len(runs["two", arm]) >= 5 for arm in ABLATIONS)


def test_no_two_arms_share_a_file():
    names = {Job("test", "two", arm, 0, RATE).name for arm in EVERY}
    assert len(names) == len(EVERY)


def test_an_arm_of_another_stage_is_refused_with_the_nearest_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["learning.py", "test", "--arms", "shufle-r1"])
    with pytest.raises(SystemExit):
        learning.main()
    assert "test has no arm 'shufle-r1'" in (said := capsys.readouterr().err)
    assert "shuffle-r1" in said.split("arm", 1)[1]


def test_a_test_before_its_tuning_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"'grpo' has no learning rate on 'two'.*run `tune` first"):
        learning.test("two", "grpo", 0, tmp_path)
