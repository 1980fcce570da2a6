"""Read by every Python that has this folder on its path, the workers of a data loader too."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("training", "models")]

import operators  # noqa: F401
