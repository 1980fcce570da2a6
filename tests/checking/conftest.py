"""The command, and the tiny families of the trainer's tests."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "training"))


@pytest.fixture
def vantage(monkeypatch, capsys):
    """Calls the command; its exit status, what it printed and what it complained about."""
    from vantage import cli

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vantage", *map(str, arguments)])
        monkeypatch.setattr(cli, "console", cli.Console(width=300))
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return call
