"""Stand-in for an engine that is not installed. It uses the configuration alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vantage.checking.context import Check
from vantage.config import Config
from vantage.training import resolved
from vantage.training.directory import check_output as check_run
from vantage.training.resolved import Resolved

__all__ = ["CHECKS", "check_run", "missing_packages", "resolve"]


def resolve(config: Config) -> Resolved:
    """Resolve a configuration without its engine, and warn that the engine is missing.

    Raises:
        ConfigError: As `vantage.training.resolved.resolved`.
    """
    words = (
        f"{config.engine} is not installed: the options under {config.engine!r}, other "
        f"limits of that engine and its memory were not checked; {_install(config)}"
    )
    return replace(resolved.resolved(config), forward=None, warnings=(words,))


# Without the engine there are no engine-specific checks.
CHECKS: tuple[Check, ...] = ()


def missing_packages(config: Config) -> Iterator[str]:
    """Report the engine itself as missing."""
    yield f"{config.engine} is missing: {_install(config)}"


def _install(config: Config) -> str:
    return f"pip install 'vantage-rl[{config.engine}]'"
