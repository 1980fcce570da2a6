"""Training, expanding and evaluating that something stops again and again end as if nothing had.

What stops them: SIGKILL at any moment, SIGTERM, a full disk, and a newest checkpoint that is
damaged before the run is resumed.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import resumable
import test_resume as resuming
from datasets import Dataset
from launching import Launch

from vantage.training import checkpoints

sys.path[:0] = [str(Path(__file__).parents[1] / "evaluation"), str(Path(__file__).parents[1])]

from loopback import Loopback  # noqa: E402
from test_responses import Candidate  # noqa: E402

pytestmark = pytest.mark.slow

AT_ONCE = 6  # stops of a run before it may end
STOPS = {"train": (26, 20, 20), "expand": 20, "eval": 20}
assert sum(STOPS["train"]) + STOPS["expand"] + STOPS["eval"] >= 100


# ---- training ----------------------------------------------------------------------------


def killed_at_a_file_operation(training, run, rng) -> str:
    launch = resuming.at_a_file_operation(training, run, rng)
    return "SIGKILL" if resuming.was_cut_short(launch) else ""


def killed_while_it_saves(training, run, rng) -> str:
    launch = resuming.while_it_saves(training, run, rng)
    return "SIGKILL" if resuming.was_cut_short(launch) else ""


def killed_while_it_trains(training, run, rng) -> str:
    launch = resuming.while_it_trains(training, run, rng)
    return "SIGKILL" if resuming.was_cut_short(launch) else ""


def terminated(training, run, rng) -> str:
    """One process gets the signal; all of them save."""
    launch = training.start(run)
    lines = len(resuming.journal(run))
    resuming.wait(lambda: len(resuming.journal(run)) > lines, launch)
    time.sleep(rng.uniform(0, 0.3))
    told = launch.processes[int(rng.integers(len(launch.processes)))]
    if told.is_alive():
        os.kill(told.pid, signal.SIGTERM)
    for process in launch.processes:
        process.join(60)
    codes = {process.exitcode for process in launch.processes}
    assert codes in ({0}, {143}), launch.log.read_text()[-5000:]
    return "SIGTERM" if codes == {143} else ""


def without_room(training, run, rng) -> str:
    before = len((run / "log").read_text()) if (run / "log").exists() else 0
    launch = training.start(run, full_at=int(rng.integers(2, 40)))
    resuming.wait(lambda: False, launch)
    launch.kill()
    if {process.exitcode for process in launch.processes} == {0}:
        return ""
    assert "cannot be written: " in (run / "log").read_text()[before:]
    return "full disk"


def damaged(training, run, rng) -> str:
    """Killed once there are two checkpoints, of which the newest is then damaged."""
    launch = training.start(run)
    resuming.wait(lambda: len(list(run.glob(f"checkpoint-*/{checkpoints.MARK}"))) > 1, launch)
    stopped = "SIGKILL" if resuming.was_cut_short(launch) else ""
    whole = [path for path in checkpoints.numbered(run) if checkpoints.is_complete(path)]
    if not stopped or len(whole) < 2:
        return stopped
    DAMAGE[int(rng.integers(len(DAMAGE)))](whole[-1], rng)
    assert checkpoints.last_complete(run) == whole[-2]
    return "damaged checkpoint"


def truncated(checkpoint, rng) -> None:
    path = some_file(checkpoint, rng)
    os.truncate(path, int(rng.integers(path.stat().st_size)))


def zero_filled(checkpoint, rng) -> None:
    path = some_file(checkpoint, rng)
    path.write_bytes(bytes(path.stat().st_size))


def gone(checkpoint, rng) -> None:
    some_file(checkpoint, rng).unlink()


def flipped(checkpoint, rng) -> None:
    path = some_file(checkpoint, rng)
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def added(checkpoint, rng) -> None:
    (checkpoint / "pytorch_model.bin").write_bytes(b"of somebody else")


DAMAGE = (truncated, zero_filled, gone, flipped, added)


def some_file(checkpoint: Path, rng) -> Path:
    """Anything but the list, which is damaged in a test of its own."""
    paths = [path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_size]
    paths = [path for path in paths if path.name != checkpoints.MARK]
    return sorted(paths)[int(rng.integers(len(paths)))]


WAYS = (
    killed_at_a_file_operation,
    terminated,
    killed_while_it_saves,
    damaged,
    without_room,
    killed_while_it_trains,
)


@pytest.fixture(scope="module", params=range(3), ids=list(resuming.CASES))
def case(request, tiny_model, digit_rows, tmp_path_factory):
    """A training, its uninterrupted run, and how often it is stopped."""
    training = list(resuming.CASES.values())[request.param]
    # A run that is stopped logs what it knows, so only complete lines can be compared.
    options = training.options | {"logging_steps": 1}
    training = dataclasses.replace(training, options=options, model=tiny_model, rows=digit_rows)
    unbroken = tmp_path_factory.mktemp("unbroken")
    training.start(unbroken).finish()
    return training, unbroken, STOPS["train"][request.param]


def test_killed_training_resumes_to_the_same_result(case, tmp_path):
    training, unbroken, least = case
    # The files of an adapter are smaller than what tells of its run.
    ways = itertools.cycle(way for way in WAYS if not (training.lora and way is without_room))
    rng, seen, runs = np.random.default_rng(17), Counter(), 0
    while seen.total() < least:
        run, runs = tmp_path / str(runs), runs + 1
        stops = [way(training, run, rng) for way in itertools.islice(ways, AT_ONCE)]
        seen.update(filter(None, stops))
        training.start(run).finish()
        assert_same(run, unbroken)
        shutil.rmtree(run)
    print(f"{runs} runs of {training.processes} processes: {dict(seen)}")
    assert len(seen) >= 3


def assert_same(run: Path, unbroken: Path) -> None:
    """As of an unbroken run: what each update and evaluation logged, the record, the weights."""
    expected, found = lines(unbroken), lines(run)
    assert {place for place, _ in found} == {place for place, _ in expected}
    assert set(found) <= set(expected)  # each attempt logged the same
    last = f"checkpoint-{resuming.journal(unbroken)[-1]['step']}"
    assert checkpoints.last_complete(run) == run / last
    assert resuming.recorded(run) == resuming.recorded(unbroken) != {}
    for directory in ("final", last):
        assert resuming.weights(run / directory) == resuming.weights(unbroken / directory) != {}


def lines(run: Path) -> list[tuple[tuple, str]]:
    kept = [line for line in resuming.journal(run) if "loss" in line or "eval_reward" in line]
    return [(resuming.place(line), json.dumps(line, sort_keys=True)) for line in kept]


# ---- asking a server ---------------------------------------------------------------------


def start(arguments: list, log: Path, room: int | None = None) -> Launch:
    return Launch(log, 1, resumable.command, [str(one) for one in arguments], room)


def stopped_while_it_asks(way: str, begin: Callable, server: Loopback, folder: Path, rng) -> bool:
    """Whether it was stopped before its end: after some more answers, at any moment."""
    size = max((path.stat().st_size for path in folder.rglob("*.journal.jsonl")), default=0)
    launch = begin(size + int(rng.integers(1, 1500)) if way == "full disk" else None)
    before, more = server.asked.total(), int(rng.integers(1, 6))
    (process,) = launch.processes
    while launch.runs and (way == "full disk" or server.asked.total() < before + more):
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.08))
    if process.is_alive():
        os.kill(process.pid, signal.SIGTERM if way == "SIGTERM" else signal.SIGKILL)
    process.join()
    time.sleep(0.1)  # what was under way at the server
    if way == "full disk" and process.exitcode:
        told = launch.log.read_text()
        assert process.exitcode == 2 and "cannot be written: File too large" in told, told[-3000:]
        assert "Traceback" not in told
    return process.exitcode != 0


def stopped_again_and_again(
    begin: Callable, server: Loopback, folder: Path, rng, least: int
) -> Counter:
    seen, runs = Counter(), 0
    while seen.total() < least:
        run, runs = folder / str(runs), runs + 1
        for way in ("SIGKILL", "SIGTERM", "full disk", "SIGKILL", "full disk"):
            was = stopped_while_it_asks(way, functools.partial(begin, run), server, run, rng)
            seen.update([way] if was else [])
        begin(run, None).finish()
    print(f"{runs} runs: {dict(seen)}")
    return seen


def assert_same_files(folder: Path, pattern: str) -> None:
    """Of all runs in it, the unbroken one among them."""
    made = {
        tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(run.glob(pattern)))
        for run in folder.iterdir()
    }
    assert len(made) == 1 and made != {()}


def asked_once(folder: Path) -> None:
    """Every answer is in the journal exactly once."""
    for run in folder.iterdir():
        for path in run.rglob("*.journal.jsonl"):
            keys = [json.loads(line)["key"] for line in path.read_bytes().splitlines()]
            assert len(keys) == len(set(keys)) > 0


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_killed_expansion_resumes_to_the_same_result(tmp_path, offline):
    questions = [f"Where does train number {n} stop, says the table?" for n in range(100, 130)]
    rows, folder = tmp_path / "rows.parquet", tmp_path / "runs"
    Dataset.from_dict({"prompt": questions, "answer": [""] * len(questions)}).to_parquet(rows)
    with Loopback(delay=0.03) as server:

        def begin(run: Path, room: int | None) -> Launch:
            run.mkdir(parents=True, exist_ok=True)
            asks = ["--base-url", server.url, "--model", "m", "--rewrites", 2, "--concurrency", 2]
            arguments = ["expand", rows, "--output", run / "out.parquet", *asks]
            return start(arguments, tmp_path / f"log-{time.monotonic_ns()}", room)

        begin(folder / "unbroken", None).finish()
        rng = np.random.default_rng(18)
        stopped_again_and_again(begin, server, folder, rng, STOPS["expand"])
    assert_same_files(folder, "out.parquet")
    asked_once(folder)


def test_killed_evaluation_resumes_to_the_same_result(tmp_path, offline):
    asked = [[{"role": "user", "content": f"Which is row {n}?"}] for n in range(40)]
    rows, folder = tmp_path / "rows.parquet", tmp_path / "runs"
    Dataset.from_dict({"prompt": asked, "answer": [str(n) for n in range(40)]}).to_parquet(rows)
    with Candidate({"3": ["500", "\\boxed{3}"], "7": ["\\boxed{8}"]}, delay=0.03) as server:

        def begin(run: Path, room: int | None) -> Launch:
            how = ["--split", "train", "--samples", 2, "--concurrency", 2, "--output", run]
            arguments = ["eval", "m", rows, "--base-url", server.url, *how]
            return start(arguments, tmp_path / f"log-{time.monotonic_ns()}", room)

        begin(folder / "unbroken", None).finish()
        rng = np.random.default_rng(19)
        stopped_again_and_again(begin, server, folder, rng, STOPS["eval"])
    assert_same_files(folder, "*/*.parquet")
    assert_same_files(folder, "table.csv")
    asked_once(folder)
