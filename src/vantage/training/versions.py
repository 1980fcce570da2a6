"""Which versions of an engine this was written for."""

from importlib import metadata

from packaging.specifiers import SpecifierSet

from vantage.errors import EngineError

SUPPORTED = {"trl": SpecifierSet(">=1.16,<1.17"), "verl": SpecifierSet(">=0.9.1,<0.9.2")}


def check_version(engine: str, installed: str | None = None) -> None:
    """Refuse a version of an engine that this was not written for.

    Args:
        engine: "trl" or "verl".
        installed: its version, by default that of this environment.

    Raises:
        EngineError: another version.
        PackageNotFoundError: it is not installed.
    """
    installed = installed or metadata.version(engine)
    wanted = SUPPORTED[engine]
    if installed not in wanted:
        raise EngineError(
            f"{engine} {installed} is installed, vantage needs {engine}{wanted}: "
            f"pip install 'vantage-rl[{engine}]'"
        )
