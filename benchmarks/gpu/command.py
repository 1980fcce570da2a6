"""`vantage train` as a user calls it, in a process of its own, and what its record says."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from gpu.chip import CUDA
from vantage.record import Record

# TRL's options for the chip at hand; as in the recipes, forwards on a GPU are in bfloat16.
ENGINE = {"bf16": True} if CUDA else {"bf16": False, "use_cpu": True}


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
    process = subprocess.Popen(command)
    if seconds is not None:
        began = time.perf_counter()
        while process.poll() is None and time.perf_counter() < began + seconds:
            time.sleep(0.2)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    if code := process.wait():
        raise RuntimeError(f"vantage train ended with {code}, see log.txt")
    return Record(run)
