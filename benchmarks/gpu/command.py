"""Run `vantage train` as a user does, in a separate process, and open its record."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from gpu.chip import CUDA
from vantage.record import Record

INTERRUPTED = 130  # exit status after an interrupt
# TRL's options for the current device.
ENGINE = {} if CUDA else {"use_cpu": True}


def train(folder: Path, config: dict[str, Any], *, seconds: float | None = None) -> Record:
    """Train, and open the record of the run.

    Args:
        folder: Directory for the configuration and the run.
        config: Configuration of the run without `run.output`.
        seconds: Time after which to interrupt the run as by Ctrl-C; the run then completes its
            rollout batch.

    Raises:
        RuntimeError: The command failed.
    """
    run, file = folder / "run", folder / "run.yaml"
    config = {**config, "run": {**config["run"], "output": str(run)}}
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "vantage", "train", str(file)]
    process, asked = subprocess.Popen(command), False
    if seconds is not None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            asked = True
    code = process.wait()
    if code not in ((0, INTERRUPTED) if asked else (0,)):
        raise RuntimeError(f"vantage train ended with {code}, see log.txt")
    return Record(run)
