"""`vantage train` as a user calls it, in a process of its own, and what its record says."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from gpu.chip import CUDA
from vantage.record import Record

INTERRUPTED = 130  # its exit status when it stopped because it was asked to
# TRL's options for the chip at hand.
ENGINE = {} if CUDA else {"use_cpu": True}


def train(folder: Path, config: dict[str, Any], *, seconds: float | None = None) -> Record:
    """Train, and open the record of the run.

    Args:
        folder: for the configuration and the run.
        config: of the run, but for where it goes.
        seconds: after which it is asked to stop, as by Ctrl-C; it ends its rollout batch then.

    Raises:
        RuntimeError: the command failed.
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
