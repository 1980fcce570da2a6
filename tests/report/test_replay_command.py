"""`vantage replay`: a table and a figure."""

import sys

import pytest
from PIL import Image

from vantage.cli import application


@pytest.fixture
def replay(monkeypatch, capsys):
    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vantage", "replay", *map(str, arguments)])
        monkeypatch.setattr(application, "console", application.Console(width=200))
        try:
            application.main()
            code = 0
        except SystemExit as caught:
            code = caught.code or 0
        return (code, *capsys.readouterr())

    return call


def test_the_recipe_that_ran_is_told_to_be_the_same(replay, made_up_run, tmp_path):
    code, out, _ = replay(
        made_up_run, "--recipe", "share-shuffle", "--set", "rounds=4", "-o", tmp_path / "a.png"
    )
    assert code == 0 and "plans equal to what was trained: 12 of 12 batches" in out
    assert "trained (share-shuffle)" in out and "replayed (share-shuffle)" in out
    assert Image.open(tmp_path / "a.png").width > 1_000


def test_another_recipe_stands_beside_it(replay, made_up_run):
    code, out, _ = replay(made_up_run, "--recipe", "grpo")
    lines = {line.split("  ")[1].strip(): line.split() for line in out.splitlines() if "  " in line}
    assert code == 0 and "plans equal to what was trained: 0 of 12" in out
    assert lines["samples an update"][-1] == "8.0"
    assert lines["times that a sample repeats"][-1] == "1.00"
    assert (made_up_run / "replay-grpo.png").is_file()


def test_what_a_recipe_cannot_do_here_is_said(replay, made_up_run):
    _, out, _ = replay(made_up_run, "--recipe", "dapo-filter")
    assert "replaces silent questions by new ones, which nobody has generated" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--recipe", "grop"], "did you mean 'grpo'?"),
        (["--recipe", "shuffle-r1", "--set", "rounds"], "--set 'rounds': expected name=value"),
        (["--recipe", "shuffle-r1", "--set", "round=2"], "has no option 'round'"),
    ],
)
def test_a_wrong_word_is_refused(replay, made_up_run, arguments, told):
    code, _, err = replay(made_up_run, *arguments)
    assert code == 2 and told in err


def test_a_directory_that_is_no_run_is_refused(replay, tmp_path):
    code, _, err = replay(tmp_path, "--recipe", "grpo")
    assert code == 2 and "has no record: no training wrote one there" in err
