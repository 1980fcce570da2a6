"""Interface for checking a run before it starts, whether or not its engine is installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module, metadata
from typing import Protocol, cast

from vantage.checking.context import Check
from vantage.config import Config
from vantage.training.directory import check_output
from vantage.training.resolved import Resolved, resolved


class Engine(Protocol):
    """Interface of an engine's module `resolving`.

    Attributes:
        CHECKS: Engine-specific checks, which run after those of `vantage.checking.checks`.
    """

    CHECKS: tuple[Check, ...]

    def resolve(self, config: Config) -> Resolved:
        """Resolve a configuration to the settings of the engine.

        Raises:
            ConfigError: The engine does not accept an option.
        """

    def check_run(self, config: Config, *, resume: bool) -> None:
        """Check that the run overwrites no other run, and can resume if asked to.

        Raises:
            ConfigError, InputError: As `vantage.training.directory.check_output`, or no
                checkpoint is complete.
        """

    def missing_packages(self, config: Config) -> Iterator[str]:
        """Yield a sentence for each package that the run needs and this machine lacks."""


class Absent:
    """Stand-in for an engine that is not installed; uses only the configuration.

    Attributes:
        CHECKS: Empty, since engine-specific checks belong to the engine.
    """

    CHECKS: tuple[Check, ...] = ()

    def resolve(self, config: Config) -> Resolved:
        """Resolve a configuration without its engine, and warn that the engine is missing.

        Raises:
            ConfigError: As `vantage.training.resolved.resolved`.
        """
        words = (
            f"{config.engine} is not installed: the options under {config.engine!r}, other "
            f"limits of that engine and its memory were not checked; {_install(config)}"
        )
        return replace(resolved(config), forward=None, warnings=(words,))

    def check_run(self, config: Config, *, resume: bool) -> None:
        """Check that the run neither overwrites nor resumes a different run.

        Raises:
            ConfigError, InputError: As `vantage.training.directory.check_output`.
        """
        check_output(config, resume=resume)

    def missing_packages(self, config: Config) -> Iterator[str]:
        """Report the engine itself as missing."""
        yield f"{config.engine} is missing: {_install(config)}"


def _install(config: Config) -> str:
    return f"pip install 'vantage-rl[{config.engine}]'"


def engine_of(config: Config) -> Engine:
    """Import the engine of a configuration, or a stand-in if the engine is not installed.

    Raises:
        EngineError: The installed version is not supported.
    """
    if not any(metadata.distributions(name=config.engine)):
        return Absent()
    return cast(Engine, import_module(f"vantage.training.{config.engine}.resolving"))
