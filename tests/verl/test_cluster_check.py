"""Tests that all nodes of a cluster must have the same packages and be able to import vantage."""

from __future__ import annotations

import os
import subprocess
import sys

CHECK = """
import sys
import ray
from vantage.errors import EngineError
from vantage.training.verl.driver import check_cluster
environment = {"env_vars": {"PYTHONPATH": sys.argv[1]}} if sys.argv[1] else {}
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
try:
    check_cluster()
    print("passed")
except EngineError as error:
    print("failed:", error)
"""


def checked(shadow: str) -> str:
    """Check a local cluster in a process of its own, with `shadow` first on the workers' path."""
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    command = [sys.executable, "-c", CHECK, shadow]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def test_nodes_that_cannot_import_vantage_are_an_error(tmp_path):
    package = tmp_path / "vantage"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('not for this machine')\n")
    output = checked(str(tmp_path))
    assert "failed: the nodes of the cluster have different packages than the driver" in output
    assert "vantage-rl cannot be imported (ImportError: not for this machine)" in output
    assert "Install the same vantage-rl[verl] on every node" in output


def test_a_cluster_of_equal_nodes_passes():
    assert checked("") == "passed\n"
