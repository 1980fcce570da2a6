"""Supported versions of the engines."""

from importlib import metadata

from packaging.specifiers import SpecifierSet

from vantage.errors import EngineError

SUPPORTED = {"trl": SpecifierSet(">=1.16,<1.17"), "verl": SpecifierSet(">=0.9.1,<0.9.2")}


def version_of(package: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_version(engine: str, installed: str | None = None) -> None:
    """Check that the version of an engine is supported.

    Args:
        engine: "trl" or "verl".
        installed: Version to check; by default that of this environment.

    Raises:
        EngineError: The version is not supported.
        PackageNotFoundError: The engine is not installed.
    """
    installed = installed or metadata.version(engine)
    wanted = SUPPORTED[engine]
    if installed not in wanted:
        raise EngineError(
            f"{engine} {installed} is installed, vantage needs {engine}{wanted}: "
            f"pip install 'vantage-rl[{engine}]'"
        )
