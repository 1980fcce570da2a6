"""What an engine says about a run before the run starts, whether it is installed or not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Protocol, cast

from vantage.checking.context import Check
from vantage.config import Config
from vantage.training.resolved import Resolved


class Engine(Protocol):
    """The module `resolving` of an engine.

    Attributes:
        CHECKS: checks of this engine alone, after those of `vantage.checking.checks`.
    """

    CHECKS: tuple[Check, ...]

    def resolve(self, config: Config) -> Resolved:
        """What the engine makes of a configuration.

        Raises:
            ConfigError: the engine refuses an option.
        """

    def check_run(self, config: Config, *, resume: bool) -> None:
        """Refuse to overwrite another run, or to resume another run or damaged checkpoints.

        Raises:
            ConfigError, InputError: as `vantage.training.directory.check_output`, or no
                checkpoint is whole.
        """

    def missing_packages(self, config: Config) -> Iterator[str]:
        """What the run needs and this machine does not have, a sentence each."""


def engine_of(config: Config) -> Engine:
    """The engine of a configuration, or a stand-in if the engine is not installed.

    Raises:
        EngineError: the installed version is not supported.
    """
    there = any(metadata.distributions(name=config.engine))
    where = f"vantage.training.{config.engine}.resolving" if there else "vantage.training.absent"
    return cast(Engine, import_module(where))
