"""Tests that `check`, the dry run and the start of a run on veRL report the same errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "checking"))

import alike


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return alike.prepared(tmp_path_factory.mktemp("alike"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import cpu_cluster  # noqa: F401, because torchvision needs it

    from vantage.demo.model import build

    return str(build(tmp_path_factory.mktemp("model"), seed=0))


@pytest.mark.parametrize("name", alike.CASES)
def test_all_commands_give_the_same_result(name, folder, vantage, model, monkeypatch):
    monkeypatch.chdir(folder)
    alike.check_alike(vantage, "verl", model, alike.CASES[name])


def test_the_rollouts_need_not_divide_into_updates(folder, vantage, model, monkeypatch):
    monkeypatch.chdir(folder)
    uneven = {"batch": {"questions": 3, "rollouts": 5}}
    words = "13 rollout batches, 52 updates, 195 rollouts"
    alike.check_alike(vantage, "verl", model, alike.Case(0, words, uneven))


def test_data_are_checked_without_trl(folder, vantage, model, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, _ = vantage("check", "clean.parquet", "--model", model)
    assert status == 0
    assert "warning engine: trl is not installed: the options under" in out
    assert "equal on all 40 rows compared" in out
