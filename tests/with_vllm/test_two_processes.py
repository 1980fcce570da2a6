"""Two processes with vLLM: a copy of it in each, or one cut over both, which must draw alike."""

import json
import subprocess
import sys
from pathlib import Path

import on_a_cpu
import pytest
import sampling

SCRIPT = Path(__file__).with_name("two_processes.py")
CLOSE = 1e-4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sampling.saved("Qwen2.5-VL", tmp_path_factory.mktemp("model"))[0]


@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_both_sample_from_what_is_trained(tensor_parallel, model, tmp_path):
    environment = on_a_cpu.environment(tmp_path / "site")
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2"]
    launcher.append(f"--master_port={environment.pop('MASTER_PORT')}")
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), model, str(tmp_path), str(tensor_parallel)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    records = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for found in records:
        assert found["processes"] == 2
        assert len(found["rows"]) == 2
        assert all(apart < CLOSE for rows in found["rows"] for _, apart in rows)
        assert found["moved"]["tower"] > 1e-3
    assert any(rows for found in records for rows in found["rows"])
    assert records[0]["difference"] == records[1]["difference"]  # over both processes
