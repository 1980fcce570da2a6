"""Hostile inputs cause no code execution, requests, tracebacks or unbounded work."""

import json
import subprocess
import sys
from pathlib import Path

import cases
import pytest

SUMMARY = Path(__file__).with_name("summary.py")
EVERY = cases.every()
QUICK = EVERY[::5]  # some of each kind; the others are slow together


@pytest.fixture(scope="module")
def problems(request, tmp_path_factory):
    """Problems of the requested cases, all run in a process without threads."""
    folder = tmp_path_factory.mktemp("hostile")
    names, told = folder / "names", folder / "problems.json"
    items = [item for item in request.session.items if item.path == request.path]
    asked = [item.callspec.params["name"] for item in items if hasattr(item, "callspec")]
    names.write_text("\n".join(asked))
    command = [sys.executable, str(SUMMARY), "--names", str(names), "--problems", str(told)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert told.exists(), done.stderr[-3000:]
    return json.loads(told.read_text())


def marks(case):
    return () if case in QUICK else pytest.mark.slow


def test_there_are_many_cases_with_unique_names():
    names = [case.id for case in EVERY]
    assert len(set(names)) == len(names) >= 400


@pytest.mark.parametrize(
    "name", [pytest.param(case.id, id=case.id, marks=marks(case)) for case in EVERY]
)
def test_hostile_input_does_no_harm(name, problems):
    assert not problems[name]
