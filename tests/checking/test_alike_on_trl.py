"""`check`, the dry run and the start of a run give the same answer; tests/verl has veRL's."""

from __future__ import annotations

import alike
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return alike.prepared(tmp_path_factory.mktemp("alike"))


@pytest.mark.parametrize("name", alike.CASES)
def test_check_dry_run_and_start_give_the_same_answer(
    name, folder, vantage, tiny_model, monkeypatch
):
    monkeypatch.chdir(folder)
    alike.check_alike(vantage, "trl", tiny_model, alike.CASES[name])


def test_indivisible_rollouts_are_rejected(folder, vantage, tiny_model, monkeypatch):
    monkeypatch.chdir(folder)
    uneven = {"batch": {"questions": 3, "rollouts": 5}}
    words = (
        "15 rollouts (questions=3 x variants.prompts=1 x rollouts=5) do not divide into updates=4"
    )
    alike.check_alike(vantage, "trl", tiny_model, alike.refused(words, uneven))
