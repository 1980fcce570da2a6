"""Stock processors, which want torchvision: there in the environment of these tests alone."""

import importlib.util
import sys
from pathlib import Path

# Processors behave otherwise where torchvision is: `make test-models`.
collect_ignore_glob = [] if importlib.util.find_spec("torchvision") else ["*"]

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "training")]

if not collect_ignore_glob:
    import operators  # noqa: F401
