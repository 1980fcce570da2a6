"""Tests that a killed run resumes with the same result as an uninterrupted one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from vantage import config as configuration

SECONDS = 1200  # far longer than any of the runs
NAMES = ("prompt_M", "rollout_M", "advantage_M", "pair_M", "padding_M", "weight_M")


def started(config, run: Path, *arguments: str) -> subprocess.Popen:
    """Start the command with its own Ray cluster."""
    (run / "notes").mkdir(parents=True, exist_ok=True)
    values = configuration.as_values(config)
    values["run"]["output"] = str(run)
    hf = {"notes": str(run / "notes")}
    values["verl"]["actor_rollout_ref"]["rollout"]["engine_kwargs"] = {"+hf": hf}
    file = run.with_suffix(".yaml")
    configuration.save(configuration.parse(values), file)
    command = [sys.executable, "-m", "vantage", "train", str(file), *arguments]
    with run.with_suffix(".log").open("ab") as log:
        environment = {**os.environ, "RAY_ADDRESS": "local", "VERL_FILE_LOGGER_ROOT": str(run)}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def finished(process: subprocess.Popen, run: Path) -> None:
    status = process.wait(timeout=SECONDS)
    assert status == 0, run.with_suffix(".log").read_text()[-3000:]


def end(process: subprocess.Popen) -> None:
    """Kill the command and all its children: driver, workers, store and Ray."""
    processes = [psutil.Process(process.pid)]
    processes += processes[0].children(recursive=True)
    for member in processes:
        member.kill()
    psutil.wait_procs(processes, timeout=30)


def wait_for(file: Path, process: subprocess.Popen, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_run_resumes_with_the_same_plans(settings, tmp_path):
    config = settings(
        recipe="share-shuffle",
        variants__prompts=2,
        variants__rewrites="other",
        run__batches=4,
        run__save_every=2,
    )
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    finished(started(config, uninterrupted), uninterrupted)
    process = started(config, killed)
    wait_for(killed / "notes" / "batch-3.pt", process)
    end(process)
    (killed / "notes" / "batch-3.pt").unlink()
    finished(started(config, killed, "--resume"), killed)
    for step in (3, 4):
        one, other = (
            torch.load(run / "notes" / f"batch-{step}.pt", weights_only=False)
            for run in (uninterrupted, killed)
        )
        for name in NAMES:
            value, resumed = (getattr(batch["samples"], name) for batch in (one, other))
            assert np.array_equal(value, resumed), (step, name)
        for row, resumed in zip(one["rows"], other["rows"], strict=True):
            assert row["responses"].tolist() == resumed["responses"].tolist()
    last = [
        torch.load(run / "notes" / "weights-4.pt", weights_only=False)
        for run in (uninterrupted, killed)
    ]
    for name, value in last[0].items():
        assert np.allclose(value, last[1][name], rtol=0, atol=1e-6), name
