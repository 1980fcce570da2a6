"""Interface for checking a run before it starts, whether or not its engine is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Protocol, cast

from vantage.checking.context import Check
from vantage.config import Config
from vantage.training.resolved import Resolved


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


def engine_of(config: Config) -> Engine:
    """Import the engine of a configuration, or a stand-in if the engine is not installed.

    Raises:
        EngineError: The installed version is not supported.
    """
    there = any(metadata.distributions(name=config.engine))
    where = f"vantage.training.{config.engine}.resolving" if there else "vantage.training.absent"
    return cast(Engine, import_module(where))
