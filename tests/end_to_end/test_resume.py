"""Runs killed at random times and restarted end like uninterrupted ones."""

import functools
import itertools
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import resumable
from datasets import Dataset
from launching import Launch

from vantage.record import Record
from vantage.training import checkpoints

TURNS = {"prompts": 2, "transforms": {"names": ["noise-25", "clockwise"], "probability": 0.5}}
REWRITES = {"prompts": 2, "rewrites": "new_questions"}
KILLS = 4
TIMES = re.compile("second|runtime|step_time|train_loss")


@dataclass
class Training:
    """A run that tests can start repeatedly on a directory."""

    options: dict
    processes: int = 1
    lora: bool = False
    model: str = ""
    rows: Dataset | None = None

    def start(self, run: Path, **how) -> Launch:
        run.mkdir(exist_ok=True)
        target = functools.partial(resumable.train, lora=self.lora, **how)
        log = run / "log"
        return Launch(log, self.processes, target, run, self.model, self.rows, self.options)


CASES = {
    "share-shuffle": Training(
        {
            "recipe": "share-shuffle",
            "variants": TURNS | REWRITES,
            "save_steps": 4,
            "eval_steps": 4,
            "logging_steps": 1,
        }
    ),
    "shuffle-r1 on two processes, saved while metrics wait for the log": Training(
        {
            "recipe": "shuffle-r1",
            "variants": TURNS,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "per_device_eval_batch_size": 4,
            "save_steps": 8,
            "eval_steps": 4,
            "logging_steps": 3,
        },
        processes=2,
    ),
    "share-grpo with LoRA, three times through a batch, ending inside of one": Training(
        {
            "recipe": "share-grpo",
            "variants": REWRITES,
            "num_iterations": 3,
            "steps_per_generation": 2,
            "max_steps": 22,
            "save_steps": 4,
            "eval_steps": 5,
            "load_best_model_at_end": False,
            "logging_steps": 1,
        },
        lora=True,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def training(request, tiny_model, digit_rows):
    case = CASES[request.param]
    case.model, case.rows = tiny_model, digit_rows
    return case


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, training):
    """Directory of the uninterrupted run."""
    run = tmp_path_factory.mktemp("unbroken")
    training.start(run).finish()
    return run


@pytest.fixture
def copied(tmp_path, unbroken):
    """A copy of the run to damage."""
    return Path(shutil.copytree(unbroken, tmp_path / "copied"))


# ---- killing -----------------------------------------------------------------------------


def at_a_file_operation(training: Training, run: Path, rng: np.random.Generator) -> Launch:
    """Dies writing or reading a checkpoint, or removing an old one."""
    launch = training.start(run, die_at=int(rng.integers(2, 60)))
    wait(lambda: False, launch)
    return launch


def while_it_saves(training: Training, run: Path, rng: np.random.Generator) -> Launch:
    launch = training.start(run)
    before = set(run.glob("checkpoint-*"))
    wait(lambda: set(run.glob("checkpoint-*")) - before, launch)
    time.sleep(rng.uniform(0, 0.02))
    return launch


def while_it_trains(training: Training, run: Path, rng: np.random.Generator) -> Launch:
    launch = training.start(run)
    lines = len(journal(run))
    wait(lambda: len(journal(run)) > lines, launch)
    time.sleep(rng.uniform(0, 0.8))
    return launch


def wait(happened: Callable, launch: Launch) -> None:
    while launch.runs and not happened():
        time.sleep(0.002)


def was_cut_short(launch: Launch) -> bool:
    """Whether a process was killed before its end; the other one may notice, and fail."""
    launch.kill()
    codes = {process.exitcode for process in launch.processes}
    assert codes == {0} or -9 in codes, launch.log.read_text()[-5000:]
    return -9 in codes


# ---- comparing ---------------------------------------------------------------------------


def journal(run: Path) -> list[dict]:
    path = run / "journal.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [without_times(json.loads(line)) for line in lines]


def without_times(line: dict) -> dict:
    return {name: value for name, value in line.items() if not TIMES.search(name)}


def place(line: dict) -> tuple:
    """Step and kind of a log line: update, evaluation, or end."""
    return line["step"], "loss" in line, "eval_loss" in line


def history(checkpoint: Path) -> list[dict]:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return [without_times(line) for line in state["log_history"]]


def weights(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.safetensors")}


def recorded(run: Path) -> dict[str, str]:
    """The record of every rollout batch and validation, without times."""
    record = Record(run)
    tables = {name: record.table(name) for name in ("rollouts", "samples", "prompts")}
    tables["validations"] = record.validations()
    rows = {name: table.to_pylist() for name, table in tables.items()}
    rows["validations"] = [
        (row["batch"], row["metric"], row["value"])
        for row in rows["validations"]
        if not TIMES.search(row["metric"])
    ]
    return {name: repr(made) for name, made in rows.items()}  # NaN is no equal of itself


def assert_same_run(run: Path, unbroken: Path) -> None:
    """Every line that any attempt logged, what the last checkpoint remembers, the weights."""
    expected = {place(line): line for line in journal(unbroken)}
    assert {place(line) for line in journal(run)} == set(expected)
    for line in journal(run):
        assert line == expected[place(line)]
    last = f"checkpoint-{journal(unbroken)[-1]['step']}"
    assert checkpoints.last_complete(run) == run / last
    assert history(run / last) == history(unbroken / last)
    assert recorded(run) == recorded(unbroken) != {}
    for directory in ("final", last):
        assert weights(run / directory) == weights(unbroken / directory) != {}


# ---- tests -------------------------------------------------------------------------------


def test_run_killed_at_random_times_resumes_to_the_same_result(tmp_path, training, unbroken):
    rng = np.random.default_rng(20)
    ways = itertools.cycle([at_a_file_operation, while_it_saves, while_it_trains])
    kills, halves, resumed_at = 0, 0, []
    for way in itertools.islice(ways, KILLS):
        kills += was_cut_short(way(training, tmp_path, rng))
        halves += any(not checkpoints.is_complete(c) for c in tmp_path.glob("checkpoint-*"))
        resumed_at.append(checkpoints.last_complete(tmp_path))
    training.start(tmp_path).finish()
    assert_same_run(tmp_path, unbroken)
    assert kills >= 2
    assert halves >= 1
    assert any(resumed_at)


def test_finished_run_is_not_trained_further(copied, training, unbroken):
    shutil.rmtree(copied / "final")
    training.start(copied).finish()
    assert_same_run(copied, unbroken)


def lose_the_mark(checkpoint: Path) -> None:
    (checkpoint / checkpoints.MARK).unlink()


def lose_a_file(checkpoint: Path) -> None:
    """As when the process is killed while an older checkpoint is removed."""
    (checkpoint / "optimizer.pt").unlink()


def stop_in_the_middle(checkpoint: Path) -> None:
    lose_the_mark(checkpoint)
    path = next(checkpoint.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize("damage", [lose_the_mark, lose_a_file, stop_in_the_middle])
def test_partial_checkpoint_is_never_used(copied, damage):
    older, last = sorted(copied.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))[-2:]
    assert checkpoints.last_complete(copied) == last
    damage(last)
    assert checkpoints.last_complete(copied) == older
    damage(older)
    assert checkpoints.last_complete(copied) is None


def test_partial_checkpoint_raises_when_given(copied, training):
    last = checkpoints.last_complete(copied)
    stop_in_the_middle(last)
    launch = training.start(copied, resume=str(last))
    with pytest.raises(AssertionError, match=r"InputError: resume_from_checkpoint='.*checkpoint"):
        launch.finish()


def test_mark_of_a_checkpoint_is_written_last(unbroken):
    for checkpoint in unbroken.glob("checkpoint-*"):
        newest = max(checkpoint.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        assert newest.name == checkpoints.MARK


def test_reward_failing_on_one_process_stops_both_with_a_checkpoint(
    tmp_path, tiny_model, digit_rows
):
    name = "shuffle-r1 on two processes, saved while metrics wait for the log"
    options = CASES[name].options | {"eval_strategy": "no", "load_best_model_at_end": False}
    case = Training(options | {"save_steps": 400}, 2, model=tiny_model, rows=digit_rows)
    launch = case.start(tmp_path, fail_at=2)
    for process in launch.processes:
        process.join(60)
    told = launch.log.read_text()
    assert [process.exitcode for process in launch.processes] == [1, 1], told[-3000:]
    assert "ZeroDivisionError: only here" in told
    assert "EngineError: another process failed: ZeroDivisionError: only here" in told
    assert checkpoints.last_complete(tmp_path) == tmp_path / "checkpoint-8"
