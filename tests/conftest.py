"""Shared fixtures: a tiny random model in a directory, and rows to train on."""

import os
import sys
from importlib import metadata

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, once imported, says that it looked

import pytest

# veRL wants an environment of its own: `make test-verl`.
collect_ignore_glob = [] if any(metadata.distributions(name="verl")) else ["verl"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Directory of an untrained model of the demo, with its processor."""
    from vantage.demo import model

    return str(model.build(tmp_path_factory.mktemp("model"), seed=0))


@pytest.fixture(scope="session")
def digit_rows():
    """40 questions on two digits in TRL's format: prompt, image, answer, new_questions."""
    from vantage.demo import digits

    rows = digits.questions("reinforcement", n=40)
    return rows.map(lambda row: {"prompt": [{"role": "user", "content": row["question"]}]})


@pytest.fixture
def vantage(monkeypatch, capsys):
    """Calls the command, and returns its exit status, stdout and stderr."""
    from vantage.cli import application

    monkeypatch.setenv("COLUMNS", "300")

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vantage", *map(str, arguments)])
        monkeypatch.setattr(application, "console", application.Console(width=300))
        with pytest.raises(SystemExit) as caught:
            application.main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return call
