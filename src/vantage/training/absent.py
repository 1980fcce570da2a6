"""The engine that stands in for one that is not installed; it knows the configuration alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vantage.checking.context import Check
from vantage.config import Config
from vantage.training import resolved
from vantage.training.directory import check_output
from vantage.training.resolved import Resolved


def resolve(config: Config) -> Resolved:
    """What every engine makes of a configuration, with a warning that the engine is missing.

    Raises:
        ConfigError: as `vantage.training.resolved.resolved`.
    """
    words = (
        f"{config.engine} is not installed here: the options under {config.engine!r}, other "
        f"limits of that engine and its memory were not checked; {_install(config)}"
    )
    return replace(resolved.resolved(config), forward=None, warnings=(words,))


def check_run(config: Config, *, resume: bool) -> None:
    """Refuse to overwrite another run, or to resume another one.

    Raises:
        ConfigError, InputError: as `vantage.training.directory.check_output`.
    """
    check_output(config, resume=resume)


# No engine, no checks of its own.
CHECKS: tuple[Check, ...] = ()


def missing_packages(config: Config) -> Iterator[str]:
    """The engine itself."""
    yield f"{config.engine} is missing: {_install(config)}"


def _install(config: Config) -> str:
    return f"pip install 'vantage-rl[{config.engine}]'"
