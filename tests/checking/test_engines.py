"""Checks without the engine installed, and of images that an engine cannot train."""

from __future__ import annotations

import pkgutil
from dataclasses import replace

import alike
import pytest

from vantage import config as configuration
from vantage.checking import checks, run
from vantage.checking.checks import CHECKS
from vantage.checking.checks.processor import trying_pictures
from vantage.checking.findings import Finding
from vantage.errors import EngineError
from vantage.training.trl import resolving


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(alike.prepared(tmp_path))


def test_a_missing_engine_is_reported_and_the_rest_is_checked(folder, vantage, tiny_model):
    path = alike.written("verl", tiny_model, {}, {})
    status, out, _ = vantage("check", path)
    assert status == 0
    assert "warning engine: verl is not installed: the options under" in out
    assert "pip install 'vantage-rl[verl]'" in out
    assert "equal on all 40 rows compared" in out
    assert "10 rollout batches, 40 updates, 160 rollouts" in out
    assert "memory per process" not in out
    bad = alike.CASES["bad rows"]
    status, out, _ = vantage("check", alike.written("verl", tiny_model, bad.options, {}))
    assert status == 1
    assert bad.words in out
    shared = alike.CASES["nothing to share"]
    status, _, err = vantage("check", alike.written("verl", tiny_model, shared.options, {}))
    assert status == 2
    assert shared.words in err


def test_a_run_requires_its_engine(folder, vantage, tiny_model):
    path = alike.written("verl", tiny_model, {}, {})
    status, out, _ = vantage("train", path, "--dry-run")
    assert status == 1
    assert "error machine: verl is missing: pip install 'vantage-rl[verl]'" in out
    assert "verl (not installed)" in out
    status, _, err = vantage("train", path)
    assert status == 2
    assert "verl is missing: pip install 'vantage-rl[verl]'" in err


def test_images_that_an_engine_cannot_train_are_an_error(folder, monkeypatch, vantage, tiny_model):
    def refuse(processor, ids, images):
        assert len(images) == 1
        raise EngineError(f"{type(processor).__name__}: no place for {len(ids)} ids")

    path = alike.written("trl", tiny_model, {}, {})
    monkeypatch.setattr(resolving, "CHECKS", (trying_pictures(refuse),))
    report = run.check(configuration.load(path))
    assert report.status == 1
    assert [finding.words for finding in report.of("error")] == [
        "LlavaProcessor: no place for 35 ids"
    ]


def test_validation_rows_need_reward_columns_and_must_fit(folder, tiny_model, monkeypatch):
    held_out = {"validation": "long.parquet", "validation_split": "train"}
    options = {"data": {**held_out, "train": "clean.parquet"}}
    path = alike.written("trl", tiny_model, options, {})
    made = replace(resolving.resolve(configuration.load(path)), limit_validation=60)
    monkeypatch.setattr(resolving, "resolve", lambda config: made)
    report = run.check(configuration.load(path))
    about = {finding.about: finding.words for finding in report.of("error")}
    assert about["long prompts"].startswith("1 of 40 rows of long.parquet (train) are longer than")


def test_validation_prompts_that_fail_to_render_are_reported(folder, tiny_model, monkeypatch):
    held_out = {"validation": "long.parquet", "validation_split": "train"}
    path = alike.written("trl", tiny_model, {"data": held_out}, {})
    tokenizer = resolving.tokenizer_of

    def of_short_prompts(processor, template_options=None):
        def tokenize(prompt):
            ids = tokenizer(processor, template_options)(prompt)
            if len(ids) > 60:
                raise ValueError("no room")
            return ids

        return tokenize

    monkeypatch.setattr(resolving, "tokenizer_of", of_short_prompts)
    report = run.check(configuration.load(path))
    words = [finding.words for finding in report.of("error") if finding.about == "prompts"]
    assert words == ["long.parquet (train): row 39: cannot be encoded: ValueError: no room"]


def test_an_engine_can_add_its_own_check(folder, vantage, tiny_model, monkeypatch):
    def few(context):
        yield Finding("note", "mine", f"{len(context.rows)} rows")

    monkeypatch.setattr(resolving, "CHECKS", (few,))
    path = alike.written("trl", tiny_model, {}, {})
    for command in (["check", path], ["train", path, "--dry-run"]):
        status, out, _ = vantage(*command)
        assert status == 0
        assert "note mine: 40 rows" in out


def test_every_check_module_is_registered():
    names = {check.__module__.rpartition(".")[2] for check in CHECKS}
    assert names == {module.name for module in pkgutil.iter_modules(checks.__path__)}
