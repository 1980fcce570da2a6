"""Ctrl-C in a command that can be resumed."""

import pytest
import typer

from vantage.cli import application


def test_an_interrupted_command_says_how_to_resume_and_exits_with_130(capsys):
    with pytest.raises(typer.Exit) as left, application.resumable():
        raise KeyboardInterrupt

    assert left.value.exit_code == 130
    assert "rerun the command to resume" in capsys.readouterr().out


def test_another_error_is_passed_on():
    with pytest.raises(ValueError, match="other"), application.resumable():
        raise ValueError("other")
