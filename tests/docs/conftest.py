"""The files that the pages mention: recorded runs, a model with its hub name, a data set."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "record"))

import steps

from vantage.record import Recorder


@pytest.fixture
def page_directory(tmp_path, monkeypatch, tiny_model, digit_rows):
    """A working directory with the files that the pages mention, and a tiny model."""
    monkeypatch.chdir(tmp_path)
    for run in ("runs/mine", "runs/other", "runs/demo/grpo"):
        with Recorder(Path(run), steps.ABOUT) as recorder:
            for number in range(3):
                recorder.append(steps.made(number))
    model = Path("Qwen") / "Qwen2.5-VL-3B-Instruct"
    model.parent.mkdir()
    model.symlink_to(tiny_model)
    digit_rows.to_parquet("data.parquet")
    return tmp_path
