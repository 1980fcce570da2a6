"""A small demo from end to end: the table, the summary file and the figure agree."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vantage.demo import run
from vantage.demo.cold_start import DEFAULTS, cold_start
from vantage.errors import ConfigError

RECIPES = ["grpo", "share-shuffle"]
QUESTIONS = {"reinforcement": 12, "validation": 6, "test": 10}
BATCHES = 3
ROLLOUTS = 16


def small(settings, *arguments):
    """Return the settings of a recipe with few batches."""
    config = settings(*arguments)
    count = config.variants.prompts
    sizes = {"batches": BATCHES, "validate_every": 1, "save_every": 1}
    batch = {"questions": 4, "rollouts": ROLLOUTS // 4 // count}
    return config.model_copy(
        update={
            "run": config.run.model_copy(update=sizes),
            "batch": config.batch.model_copy(update=batch),
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Directory, outcomes and printed output of a small demo."""
    folder = tmp_path_factory.mktemp("demo")
    tiny = replace(DEFAULTS, n=48, steps=30, batch=16)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patched.setattr(run, "QUESTIONS", QUESTIONS)
        patched.setattr(run, "settings", partial(small, run.settings))
        patched.setattr(run, "cold_start", partial(cold_start, settings=tiny))
        console = run.Console(width=200, record=True)
        patched.setattr(run, "Console", lambda: console)
        outcomes = run.demo(RECIPES, folder / "out", seed=1)
    return folder, outcomes, console.export_text()


def test_the_demo_writes_a_report_of_its_runs(made):
    folder, _, printed = made
    assert "report.html" in printed.splitlines()[-1]
    html = (folder / "out" / "report.html").read_text()
    assert "<title>grpo, share-shuffle · vantage</title>" in html
    assert '"batches":3' in html and '"rollouts":48' in html


def summary(folder) -> list[dict]:
    return json.loads((folder / "out" / "summary.json").read_text())


def test_summary_file_has_every_number_of_the_table(made):
    folder, _, printed = made
    for one in summary(folder):
        (line,) = [line for line in printed.splitlines() if f" {one['recipe']} " in line]
        assert line.split() == [
            one["recipe"],
            f"{one['before']['mean']:.3f}±{one['before']['error']:.3f}",
            f"{one['after']['mean']:.3f}±{one['after']['error']:.3f}",
            f"{one['silent_rollouts']:.0%}",
            f"{one['silent_samples']:.0%}",
            f"{one['distinct_samples']:.0f}",
            f"{one['seconds']:.0f}",
        ]


def test_recipes_share_the_start_and_keep_their_order(made):
    folder, outcomes, _ = made
    found = summary(folder)
    assert [one["recipe"] for one in found] == RECIPES == [one.recipe for one in outcomes]
    assert found[0]["before"] == found[1]["before"]


def test_numbers_are_within_their_ranges(made):
    for one in summary(made[0]):
        for share in ("silent_rollouts", "silent_samples"):
            assert 0 <= one[share] <= 1
        assert 0 < one["seconds"] < 300
        assert len(one["silent"]) == BATCHES
        assert [point["batch"] for point in one["curve"]] == [1, 2, 3]
        seconds = [point["seconds"] for point in one["curve"]]
        assert seconds == sorted(seconds) and seconds[-1] <= one["seconds"]
        assert all(0 <= point["accuracy"] <= 1 for point in one["curve"])
        assert one["silent_rollouts"] == pytest.approx(np.mean(one["silent"]))


def test_histograms_cover_a_tenth_of_the_run(made):
    for one in summary(made[0]):
        for when in ("early", "late"):
            assert sum(one[when]["rollouts"]) == ROLLOUTS
            assert len(one[when]["samples"]) == len(run.BINS) - 1
            assert sum(one[when]["samples"]) > 0


def test_the_figure_is_not_blank(made):
    with Image.open(made[0] / "out" / "learning.png") as figure:
        figure.load()
        colours = np.asarray(figure.convert("RGB")).reshape(-1, 3)
    assert figure.format == "PNG"
    assert figure.width > 1_000
    assert len(np.unique(colours, axis=0)) > 50


def test_each_recipe_saves_its_configuration_and_a_model(made):
    for name in RECIPES:
        assert (made[0] / "out" / name / "config.yaml").is_file()
        assert (made[0] / "out" / name / "model" / "config.json").is_file()
    assert len(list((made[0] / "cache" / "vantage").iterdir())) == 1


def test_every_recipe_generates_the_same_number_of_rollouts():
    sizes = set()
    for name in ("grpo", "shuffle-r1", "share-grpo", "share-shuffle"):
        config = run.settings(name, Path("start"), Path("out"), 0)
        assert config.run.output == f"out/{name}"
        batch = config.batch
        sizes.add((batch.questions, config.variants.prompts * batch.rollouts, config.run.batches))
    assert len(sizes) == 1


def test_number_of_test_questions():
    assert run.QUESTIONS["test"] >= 1_250


def test_an_unknown_recipe_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="shuffle-r1"):
        run.demo(["grpo", "shuffle"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
