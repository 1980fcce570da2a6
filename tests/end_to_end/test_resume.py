"""Runs that are killed at any moment and started again end as if nothing had happened."""

import itertools
import json
import re
import shutil
import signal
import time
from pathlib import Path

import launching
import numpy as np
import pytest
import resumable

from vantage.errors import InputError
from vantage.training import checkpoints

TURNS = {"count": 2, "transforms": ["noise-25", "clockwise"], "probability": 0.5}
REWRITES = {"count": 2, "rewrites": "new_questions"}
CASES = {
    "share-shuffle": {
        "recipe": "share-shuffle",
        "variants": TURNS | REWRITES,
        "save_steps": 4,
        "eval_steps": 4,
        "logging_steps": 1,
    },
    "shuffle-r1, saved less often than logged": {
        "recipe": "shuffle-r1",
        "variants": TURNS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "save_steps": 8,
        "eval_steps": 4,
        "logging_steps": 3,
    },
    "share-grpo with LoRA, three times through a batch": {
        "recipe": "share-grpo",
        "variants": REWRITES,
        "lora": True,
        "num_iterations": 3,
        "steps_per_generation": 2,
        "generation_batch_size": None,
        "save_steps": 6,
        "eval_steps": 6,
        "logging_steps": 1,
    },
}
KILLS = 6
TIMES = re.compile("seconds|per_second|runtime|step_time|train_loss")


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def training(tiny_model, digit_rows, case):
    """Arguments of a training run, behind its directory."""
    return tiny_model, digit_rows, case


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, training):
    """Directory of the run that nothing interrupted."""
    run = tmp_path_factory.mktemp("unbroken")
    finish(run, training)
    return run


def finish(run: Path, training) -> None:
    launching.together(run / "log", 1, resumable.train, run, *training)


def killed(run: Path, training, rng: np.random.Generator, kind: int) -> bool:
    """Start a run, kill it at a random moment; whether that came before its end."""
    log = run / "log"
    if kind == 0:  # at one of the file operations of its first checkpoints, or of their removal
        process = launching.start(log, resumable.train, run, *training, int(rng.integers(1, 100)))
    elif kind == 1:  # while a checkpoint is written
        process = launching.start(log, resumable.train, run, *training)
        before = set(run.glob("checkpoint-*"))
        wait(lambda: set(run.glob("checkpoint-*")) - before, process)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
    else:  # anywhere in its first seconds
        process = launching.start(log, resumable.train, run, *training)
        lines = len(journal(run))
        wait(lambda: len(journal(run)) > lines, process)
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), log.read_text()[-4000:]
    return process.exitcode != 0


def wait(happened, process) -> None:
    while process.is_alive() and not happened():
        time.sleep(0.002)


def journal(run: Path) -> list[dict]:
    path = run / "journal.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [without_times(json.loads(line)) for line in lines]


def without_times(line: dict) -> dict:
    return {name: value for name, value in line.items() if not TIMES.search(name)}


def by_step(lines: list[dict]) -> dict:
    """Lines by step and kind: of an update, of an evaluation, of the end."""
    return {(line["step"], "loss" in line, "eval_loss" in line): line for line in lines}


def history(checkpoint: Path) -> list[dict]:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return [without_times(line) for line in state["log_history"]]


def assert_same_run(run: Path, unbroken: Path) -> None:
    expected = by_step(journal(unbroken))
    assert by_step(journal(run)).keys() == expected.keys()
    for line in journal(run):
        assert line == expected[line["step"], "loss" in line, "eval_loss" in line]
    last, same = checkpoints.last_complete(run), checkpoints.last_complete(unbroken)
    assert last.name == same.name == f"checkpoint-{resumable.OPTIONS['max_steps']}"
    assert history(last) == history(same)
    for directory, name in itertools.product(["final", last.name], ["model", "adapter_model"]):
        weights = f"{directory}/{name}.safetensors"
        assert (run / weights).exists() == (unbroken / weights).exists()
        if (run / weights).exists():
            assert (run / weights).read_bytes() == (unbroken / weights).read_bytes()


def test_a_run_killed_at_random_moments_goes_on_as_an_unbroken_one(tmp_path, training, unbroken):
    rng = np.random.default_rng(20)
    kills, halves, resumed_at = 0, 0, []
    for number in range(KILLS):
        kills += killed(tmp_path, training, rng, number % 3)
        whole = checkpoints.last_complete(tmp_path)
        halves += any(not checkpoints.is_complete(c) for c in tmp_path.glob("checkpoint-*"))
        resumed_at.append(int(whole.name.rpartition("-")[2]) if whole else 0)
    print(kills, halves, resumed_at)
    finish(tmp_path, training)
    assert_same_run(tmp_path, unbroken)
    assert kills >= 3
    assert halves >= 1
    assert max(resumed_at) > 0


def test_a_finished_run_is_not_trained_further(tmp_path, training, unbroken):
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    finish(tmp_path, training)
    assert_same_run(tmp_path, unbroken)


def lose_the_mark(checkpoint: Path) -> None:
    (checkpoint / checkpoints.MARK).unlink()


def lose_a_file(checkpoint: Path) -> None:
    """As when the process is killed while an older checkpoint is removed."""
    (checkpoint / "optimizer.pt").unlink()


def stop_in_the_middle(checkpoint: Path) -> None:
    lose_the_mark(checkpoint)
    weights = next(checkpoint.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])


@pytest.mark.parametrize("damage", [lose_the_mark, lose_a_file, stop_in_the_middle])
def test_a_half_written_checkpoint_is_never_picked_up(tmp_path, damage, unbroken):
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    before, last = sorted(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))[-2:]
    assert checkpoints.last_complete(tmp_path) == last
    damage(last)
    assert checkpoints.last_complete(tmp_path) == before
    damage(before)
    assert checkpoints.last_complete(tmp_path) is None


def test_the_mark_of_a_checkpoint_is_written_last(unbroken):
    for checkpoint in unbroken.glob("checkpoint-*"):
        newest = max(checkpoint.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        assert newest.name == checkpoints.MARK
