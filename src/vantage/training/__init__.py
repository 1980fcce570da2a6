"""Engines that carry a plan out."""

from importlib import metadata

from packaging.specifiers import SpecifierSet

from vantage.errors import EngineError

SUPPORTED = SpecifierSet(">=1.16,<1.17")


def check_version(installed: str) -> None:
    """Refuse a TRL that this was not written for.

    Raises:
        EngineError: another version.
    """
    if installed not in SUPPORTED:
        raise EngineError(f"TRL {installed} is installed, vantage needs trl{SUPPORTED}")


# Before anything of TRL is imported, whose names change between versions.
check_version(metadata.version("trl"))
