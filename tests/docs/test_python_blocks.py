"""Run the Python blocks of each page unchanged, with a tiny model and a few rows."""

import shlex
import sys
from pathlib import Path

import blocks
import pytest
import torch
import yaml

from vantage.training.trl import VantageConfig

PYTHON = blocks.blocks("python")
PAGES = sorted({block.page for block in PYTHON})


def shrink_runs(config, monkeypatch):
    """Limit every run to one update with short responses on a CPU."""
    original = config.__post_init__

    def small(self):
        vars(self).update(use_cpu=True, bf16=False, max_steps=1, max_completion_length=8)
        original(self)

    monkeypatch.setattr(config, "__post_init__", small)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_of_a_page_run(page, page_directory, digit_rows, monkeypatch):
    torch.set_num_threads(1)
    shrink_runs(VantageConfig, monkeypatch)
    known = PROVIDED.get(page, lambda *_: {})(digit_rows.select(range(4)), monkeypatch)
    for block in PYTHON:
        if block.page == page:
            exec(compile(block.text, blocks.name_of(block), "exec"), known)
    for name, check in CHECKS.get(page, {}).items():
        assert check(known[name]), name


def names_for_readme(rows, monkeypatch):
    return {"train_dataset": rows}


def names_for_from_trl(rows, monkeypatch):
    """Names that the first block uses, and the command line that the second block parses."""

    def reward(completions, **columns):
        return [float(len(str(completion))) for completion in completions]

    (line,) = [b.text for b in blocks.blocks("bash") if "python train.py" in b.text]
    monkeypatch.setattr(sys, "argv", shlex.split(line)[1:])
    Path("train.yaml").write_text(yaml.safe_dump({"output_dir": "runs/parsed"}))
    return {"reward": reward, "rows": rows}


def names_for_evaluate(rows, monkeypatch):
    from vantage.evaluation import rules
    from vantage.evaluation.benchmarks import Benchmark

    return {"Benchmark": Benchmark, "rules": rules}


# Names that the blocks of a page use without defining them, and checks of names they define.
PROVIDED = {
    "README.md": names_for_readme,
    "docs/from-trl.md": names_for_from_trl,
    "docs/evaluate.md": names_for_evaluate,
}
CHECKS = {
    "README.md": {
        "samples": len,
        "trainer": lambda trainer: trainer.state.global_step == 1,
    },
    "CONTRIBUTING.md": {"mine": lambda mine: mine().name == "mine"},
    "docs/from-trl.md": {
        "trainer": lambda trainer: trainer.state.global_step == 1,
        "args": lambda args: args.recipe == {"name": "shuffle-r1", "fraction": 0.25},
    },
}


def test_provided_names_and_checks_belong_to_pages():
    assert {*PROVIDED, *CHECKS} <= set(PAGES)
