"""Configurations on which `check`, the dry run and the start of a run agree, on both engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from planting import row, saved

ENGINES: dict[str, dict[str, Any]] = {
    "trl": {"trl": {"use_cpu": True}},
    "verl": {
        "verl": {
            "actor_rollout_ref": {
                "model": {"use_remove_padding": False},
                "rollout": {"name": "hf"},  # of tests/verl
            },
            "trainer": {"device": "cpu", "n_gpus_per_node": 2},
        }
    },
}
TWO = {"variants": {"prompts": 2, "rewrites": "other"}}
ROUNDED = {
    "trl": {"trl": {"model_init_kwargs": {"dtype": "bfloat16"}}},
    "verl": {"verl": {"actor_rollout_ref": {"actor": {"fsdp_config": {"model_dtype": "bf16"}}}}},
}
UNKNOWN = {
    "trl": {"trl": {"num_generatons": 4}},
    "verl": {"verl": {"trainer": {"nnodez": 1}}},
}


@dataclass(frozen=True)
class Case:
    """What is said to a configuration.

    Attributes:
        status: of `check` and the dry run.
        words: in the answer.
        options: sections of the configuration.
        of: those of an engine alone.
        starts: whether a run is refused in the same words before rows are read.
    """

    status: int
    words: str
    options: dict[str, Any] = field(default_factory=dict)
    of: dict[str, dict[str, Any]] = field(default_factory=dict)
    starts: bool = False


def refused(words: str, options: dict[str, Any] | None = None, **more: Any) -> Case:
    """Options that are invalid together on any machine."""
    return Case(2, words, options or {}, starts=True, **more)


CASES = {
    "good": Case(0, "Ready to train."),
    "four updates of a pair": Case(0, "40 updates", {"recipe": "shuffle-r1"}),
    "rows that are too few": Case(0, "for the 64 questions", {"batch": {"questions": 64}}),
    "rounds and updates": refused(
        "rounds=8 of recipe 'shuffle-r1' is not a multiple of the 3 updates",
        {"recipe": "shuffle-r1", "batch": {"questions": 3, "updates": 3}},
    ),
    "more updates than rollouts": refused("fewer than updates", {"batch": {"updates": 64}}),
    "nothing to share": refused("but variants.prompts is 1", {"recipe": "share-grpo"}),
    "no original prompt": refused(
        "variants.original is false",
        {"recipe": "noisy-rollout", "variants": {**TWO["variants"], "original": False}},
    ),
    "a template without the question": refused(
        "does not contain {question}", {"data": {"template": "?"}}
    ),
    "pixels that cross": refused(
        "model.min_pixels=9000 is more than", {"model": {"min_pixels": 9000, "max_pixels": 900}}
    ),
    "weights below their forwards": refused(
        "compute in bfloat16", {"optimizer": {"weights": "bfloat16"}}
    ),
    "compensated adapters": refused(
        "adapters (model.lora) are small",
        {"optimizer": {"weights": "bfloat16"}, "model": {"lora": {"r": 4}}},
    ),
    "no model": refused(
        "model.path: 'nowhere/at-all' cannot be loaded", {"model": {"path": "nowhere/at-all"}}
    ),
    "no reward": refused("unknown 'acuracy'; did you mean", {"rewards": {"acuracy": 1.0}}),
    "no schedule": refused("polynomail", {"optimizer": {"schedule": "polynomail"}}),
    "no tracker": refused("does not support 'wandbb'; did you", {"run": {"report_to": ["wandbb"]}}),
    "no attention": refused(
        "model.attention='spda': did you mean 'sdpa'", {"model": {"attention": "spda"}}
    ),
    "no option": refused("did you mean", of=UNKNOWN),
    "steps that are rounded away": Case(
        1, "cannot train weights kept in bfloat16", of=ROUNDED, starts=True
    ),
    "bad rows": Case(1, "1 of 40 rows cannot be used", {"data": {"train": "bad.parquet"}}),
    "bad rows are skipped": Case(
        0, "and would be skipped", {"data": {"train": "bad.parquet", "on_bad_row": "skip"}}
    ),
    "long prompts": Case(1, "longer than 30 tokens", {"data": {"max_prompt_tokens": 30}}),
    "long prompts are dropped": Case(
        0,
        "1 of 40 rows are longer than 60 tokens and would be dropped",
        {"data": {"train": "long.parquet", "on_long_prompt": "skip"}},
    ),
    "validation rows are trained on": Case(
        1,
        "40 of 40 rows of",
        {"data": {"validation": "clean.parquet", "validation_split": "train"}},
    ),
    "a special token in the template": Case(
        1, "data.template: '<|end|>'", {"data": {"template": "{question} <|end|>"}}
    ),
    "no such column": Case(1, "no column 'level'", {"rewards": {"mine.py:needs": 1.0}}),
    "a reward that fails": Case(1, "failed on a response", {"rewards": {"mine.py:broken": 1.0}}),
}
REWARDS = (
    "def needs(completions, level, **columns):\n    return [0.0 for _ in completions]\n\n\n"
    "def broken(completions, answer, **columns):\n    return [a.no for a in answer]\n"
)


def prepared(folder: Path) -> Path:
    """A directory with the data and rewards of the cases."""
    rows = [row(number) for number in range(40)]
    saved(rows, folder / "clean.parquet")
    saved([*rows[:39], row(39, answer="")], folder / "bad.parquet")
    saved([*rows[:39], row(39, question="Add them. " * 40)], folder / "long.parquet")
    (folder / "mine.py").write_text(REWARDS)
    return folder


def written(engine: str, model: str, options: dict[str, Any], of: dict[str, Any]) -> str:
    """The configuration of a run in the working directory."""
    values: dict[str, Any] = {
        "engine": engine,
        "model": {"path": model, "dtype": "float32", "attention": "sdpa"},
        "data": {"train": "clean.parquet", "max_prompt_tokens": 60},
        "batch": {"questions": 4, "rollouts": 4, "updates": 4},
        "generation": {"max_tokens": 8},
        "run": {"output": "run", "epochs": 1},
    }
    for given in (ENGINES[engine], options, of.get(engine, {})):
        values = _merged(values, given)
    Path("run.yaml").write_text(yaml.safe_dump(values))
    return "run.yaml"


def _merged(values: Any, given: Any) -> Any:
    if not isinstance(values, dict) or not isinstance(given, dict):
        return given
    return {**values, **{k: _merged(values.get(k), value) for k, value in given.items()}}


def said(answer: tuple[int, str, str]) -> tuple[int, list[str], str]:
    """Exit status, findings and error message of a command."""
    status, out, err = answer
    lines = out.splitlines()
    findings = [line for line in lines if line.startswith(("error ", "warning ", "note "))]
    return status, findings, err.partition("error:")[2]


def check_alike(vantage: Any, engine: str, model: str, case: Case) -> None:
    """`check` and the dry run agree, and so does the start of a run where that is cheap to try."""
    path = written(engine, model, case.options, case.of)
    checked, rehearsed = vantage("check", path), vantage("train", path, "--dry-run")
    assert checked[0] == case.status, checked
    assert case.words in " ".join("".join(checked[1:]).split())
    assert said(rehearsed) == said(checked)
    assert ("what would run" in rehearsed[1]) == (case.status < 2)
    if case.starts:
        status, out, err = vantage("train", path)
        assert status == 2
        assert case.words in " ".join((out + err).split())
        assert not Path("run", "config.yaml").exists()
