"""The recipe files: YAML configurations with published settings, to copy and change."""

from pathlib import Path


def directory() -> Path:
    """Directory of the recipe files, in the installed package or at the root of a clone."""
    package = Path(__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"
