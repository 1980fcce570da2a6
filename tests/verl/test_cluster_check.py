"""Every node must run the same, and be able to."""

from __future__ import annotations

import os
import subprocess
import sys

LOOK = """
import sys
import ray
from vantage.errors import EngineError
from vantage.training.verl.driver import check_cluster
environment = {"env_vars": {"PYTHONPATH": sys.argv[1]}} if sys.argv[1] else {}
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
try:
    check_cluster()
    print("agreed")
except EngineError as error:
    print("refused:", error)
"""


def looked(shadow: str) -> str:
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    command = [sys.executable, "-c", LOOK, shadow]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def test_workers_that_cannot_load_vantage_are_named_before_anything_is_trained(tmp_path):
    package = tmp_path / "vantage"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('not for this machine')\n")
    told = looked(str(tmp_path))
    assert "refused: the nodes of the cluster do not agree" in told
    assert "vantage-rl cannot be loaded (ImportError: not for this machine)" in told
    assert "Install the same vantage-rl[verl] on every node" in told


def test_a_cluster_of_equal_nodes_is_taken():
    assert looked("") == "agreed\n"
