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


def test_the_runs_own_recipe_gives_equal_plans(replay, made_up_run, tmp_path):
    code, out, _ = replay(
        made_up_run, "--recipe", "share-shuffle", "--set", "rounds=4", "-o", tmp_path / "a.png"
    )
    assert code == 0 and "plans equal to the trained ones: 12 of 12 batches" in out
    assert "trained (share-shuffle)" in out and "replayed (share-shuffle)" in out
    assert Image.open(tmp_path / "a.png").width > 1_000


def test_another_recipe_is_compared(replay, made_up_run):
    code, out, _ = replay(made_up_run, "--recipe", "grpo")
    lines = {line.split("  ")[1].strip(): line.split() for line in out.splitlines() if "  " in line}
    assert code == 0 and "plans equal to the trained ones: 0 of 12" in out
    assert lines["samples per update"][-1] == "8.0"
    assert lines["repeats of a sample"][-1] == "1.00"
    assert (made_up_run / "replay-grpo.png").is_file()


def test_limits_of_a_replay_are_reported(replay, made_up_run):
    _, out, _ = replay(made_up_run, "--recipe", "dapo-filter")
    assert "replaces silent questions by new ones, which have no recorded rollouts" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--recipe", "grop"], "did you mean 'grpo'?"),
        (["--recipe", "shuffle-r1", "--set", "rounds"], "--set 'rounds': expected name=value"),
        (["--recipe", "shuffle-r1", "--set", "round=2"], "has no option 'round'"),
    ],
)
def test_wrong_arguments_are_refused(replay, made_up_run, arguments, told):
    code, _, err = replay(made_up_run, *arguments)
    assert code == 2 and told in err


def test_a_directory_without_a_run_is_refused(replay, tmp_path):
    code, _, err = replay(tmp_path, "--recipe", "grpo")
    assert code == 2 and "has no record: no training wrote one there" in err
