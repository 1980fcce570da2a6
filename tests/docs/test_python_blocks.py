"""Python blocks run as they stand, page by page, with a tiny model and a few rows."""

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


def made_small(config, monkeypatch):
    """Have every run make one update of short responses on a CPU."""
    made = config.__post_init__

    def small(self):
        vars(self).update(use_cpu=True, bf16=False, max_steps=1, max_completion_length=8)
        made(self)

    monkeypatch.setattr(config, "__post_init__", small)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_of_a_page_run(page, page_directory, digit_rows, monkeypatch):
    torch.set_num_threads(1)
    made_small(VantageConfig, monkeypatch)
    known = PROVIDED.get(page, lambda *_: {})(digit_rows.select(range(4)), monkeypatch)
    for block in PYTHON:
        if block.page == page:
            exec(compile(block.text, blocks.name_of(block), "exec"), known)
    for name, check in CHECKS.get(page, {}).items():
        assert check(known[name]), name


def of_readme(rows, monkeypatch):
    return {"train_dataset": rows}


def of_from_trl(rows, monkeypatch):
    """The names of the first block, and the command line that the second one reads."""

    def reward(completions, **columns):
        return [float(len(str(completion))) for completion in completions]

    (line,) = [b.text for b in blocks.blocks("bash") if "python train.py" in b.text]
    monkeypatch.setattr(sys, "argv", shlex.split(line)[1:])
    Path("train.yaml").write_text(yaml.safe_dump({"output_dir": "runs/parsed"}))
    return {"reward": reward, "rows": rows}


def of_evaluate(rows, monkeypatch):
    from vantage.evaluation import rules
    from vantage.evaluation.benchmarks import Benchmark

    return {"Benchmark": Benchmark, "rules": rules}


# What a page takes for granted, and what its blocks leave.
PROVIDED = {
    "README.md": of_readme,
    "docs/from-trl.md": of_from_trl,
    "docs/evaluate.md": of_evaluate,
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


def test_what_is_provided_belongs_to_a_page():
    assert {*PROVIDED, *CHECKS} <= set(PAGES)
