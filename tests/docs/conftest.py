"""What the pages speak of: recorded runs, a model under its name on the hub, and rows."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "record"))

import steps

from vantage.record import Recorder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Working directory with the recorded runs that pages name."""
    monkeypatch.chdir(tmp_path)
    for run in ("runs/mine", "runs/other", "runs/demo/grpo"):
        with Recorder(Path(run), steps.ABOUT) as recorder:
            for number in range(3):
                recorder.append(steps.made(number))
    return tmp_path


@pytest.fixture
def page_directory(runs, tiny_model, digit_rows):
    """The same, with a tiny model at the path that is the name of a real one."""
    model = Path("Qwen") / "Qwen2.5-VL-3B-Instruct"
    model.parent.mkdir()
    model.symlink_to(tiny_model)
    return runs
