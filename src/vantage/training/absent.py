"""A run whose engine is not installed, as far as the configuration alone tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vantage.config import Config
from vantage.training import resolved
from vantage.training.inputs import check_output
from vantage.training.resolved import Resolved


def resolve(config: Config) -> Resolved:
    """What any engine makes of a configuration.

    Raises:
        ConfigError: as `vantage.training.resolved.resolved`.
    """
    words = (
        f"{config.engine} is not installed here: what it refuses, the options under "
        f"{config.engine!r} among it, and the memory that it takes were not looked at; "
        f"{_install(config)}"
    )
    return replace(resolved.resolved(config), forward=None, warnings=(words,))


def check_run(config: Config, *, resume: bool) -> None:
    """Refuse a directory that is a file, or to resume something else.

    Raises:
        ConfigError: as `vantage.training.inputs.check_output`.
    """
    check_output(config, resume=resume, begun=False)


def lacks(config: Config) -> Iterator[str]:
    """The engine."""
    yield f"{config.engine} is missing: {_install(config)}"


def _install(config: Config) -> str:
    return f"pip install -e '.[{config.engine}]'"
