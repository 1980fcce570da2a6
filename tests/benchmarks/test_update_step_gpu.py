"""Benchmarks whose figures need a machine of their own still run."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_update_on_a_gpu_can_be_tried_on_a_tiny_model():
    command = [sys.executable, BENCHMARKS / "update_step_gpu.py", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"TRL +\d+\.\d+ s .* of the matrix rate", done.stdout)
    assert re.search(r"packed +\d+\.\d+ s .* of the matrix rate", done.stdout)
    assert re.search(r"P = 13, \d+\.\d+ times faster", done.stdout)
