"""The command line: lists, overrides, and short error messages."""

import subprocess
import sys

import pytest

from vantage.cli import application
from vantage.cli.overrides import overrides
from vantage.errors import ConfigError
from vantage.methods import RECIPES


def test_python_m_vantage_runs_the_command():
    ran = subprocess.run(
        [sys.executable, "-m", "vantage", "train", "gone.yaml"], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert ran.stderr == "error: cannot read configuration 'gone.yaml': No such file or directory\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "error: a file: No space left on device\n"),
        (
            PermissionError(13, "Permission denied", "a.html"),
            "error: 'a.html': Permission denied\n",
        ),
    ],
)
def test_disk_errors_print_one_sentence(error, told, monkeypatch, capsys):
    def fail():
        raise error

    monkeypatch.setattr(application, "app", fail)
    with pytest.raises(SystemExit) as caught:
        application.main()
    assert (caught.value.code, capsys.readouterr().err) == (2, told)


@pytest.mark.parametrize(
    ("missing", "extra"), [("trl", "trl"), ("sklearn", "demo"), ("pyarrow", "report")]
)
def test_missing_package_error_names_its_extra(vantage, monkeypatch, missing, extra):
    def command(**_):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(application, "app", command)
    assert vantage() == (2, "", f"error: {missing} is missing: pip install 'vantage-rl[{extra}]'\n")


def test_recipes_lists_all_with_options_and_papers(vantage):
    status, out, _ = vantage("recipes")
    assert status == 0
    for name in RECIPES:
        assert name in out
    for words in ("fraction=0.5, rounds=8", "2508.05612", "2505.16673"):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], {}),
        (["--run.batches", "3"], {"run.batches": "3"}),
        (["--run.batches=3"], {"run.batches": "3"}),
        (["--a.b", "-1"], {"a.b": "-1"}),
        (["--a.b=x=y"], {"a.b": "x=y"}),
        (["--a.b="], {"a.b": ""}),
        (["--a.b", "x y", "--c=1"], {"a.b": "x y", "c": "1"}),
        (["--a", "1", "--a", "2"], {"a": "2"}),
        (["--a", "{b: c}"], {"a": "{b: c}"}),
    ],
    ids=str,
)
def test_overrides_accept_a_space_or_an_equals_sign(arguments, found):
    assert overrides(arguments) == found


@pytest.mark.parametrize("arguments", [["x"], ["--a.b"], ["-a", "1"], ["--a", "1", "2"]], ids=str)
def test_invalid_override_is_named(arguments):
    with pytest.raises(ConfigError, match=r"expected --section\.option value"):
        overrides(arguments)


def test_demo_rejects_an_unknown_recipe_immediately(vantage, tmp_path):
    status, _, err = vantage("demo", "--recipes", "grpo,shuffle", "--output", tmp_path / "demo")
    assert status == 2
    assert "did you mean 'shuffle-r1'" in err
    assert not (tmp_path / "demo").exists()
