"""A run that was killed goes on as if nothing had happened."""

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

NAMES = ("prompt_M", "rollout_M", "advantage_M", "pair_M", "padding_M", "weight_M")


def started(config, run: Path, *arguments: str) -> subprocess.Popen:
    """The command, with a Ray of its own."""
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
    status = process.wait(timeout=300)
    assert status == 0, run.with_suffix(".log").read_text()[-3000:]


def end(process: subprocess.Popen) -> None:
    """Everything at once: the command, the driver, the workers, the store, Ray itself."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    for member in family:
        member.kill()
    psutil.wait_procs(family, timeout=30)


def wait_for(file: Path, process: subprocess.Popen, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)


def test_a_killed_run_goes_on_with_the_same_plans(settings, tmp_path):
    config = settings(
        recipe="share-shuffle",
        variants__prompts=2,
        variants__rewrites="other",
        run__batches=4,
        run__save_every=2,
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(started(config, whole), whole)
    process = started(config, killed)
    wait_for(killed / "notes" / "batch-3.pt", process)
    end(process)
    (killed / "notes" / "batch-3.pt").unlink()
    finished(started(config, killed, "--resume"), killed)
    for step in (3, 4):
        one, other = (
            torch.load(run / "notes" / f"batch-{step}.pt", weights_only=False)
            for run in (whole, killed)
        )
        for name in NAMES:
            mine, its = (getattr(batch["samples"], name) for batch in (one, other))
            assert np.array_equal(mine, its), (step, name)
        for mine, its in zip(one["rows"], other["rows"], strict=True):
            assert mine["responses"].tolist() == its["responses"].tolist()
    last = [
        torch.load(run / "notes" / "weights-4.pt", weights_only=False) for run in (whole, killed)
    ]
    for name, value in last[0].items():
        assert np.allclose(value, last[1][name], rtol=0, atol=1e-6), name
