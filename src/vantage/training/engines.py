"""What an engine says about a run before it starts, whether it is installed or not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Protocol, cast

from vantage.config import Config
from vantage.training.resolved import Resolved


class Engine(Protocol):
    """The module `resolving` of an engine."""

    def resolve(self, config: Config) -> Resolved:
        """What it makes of a configuration.

        Raises:
            ConfigError: an option that it refuses.
        """

    def check_run(self, config: Config, *, resume: bool) -> None:
        """Refuse to write over another run, or to resume something else.

        Raises:
            ConfigError, InputError: as `vantage.training.directory.check_output`, or a
                checkpoint that is gone or damaged.
        """

    def missing_packages(self, config: Config) -> Iterator[str]:
        """What the machine at hand lacks for the run."""


def engine_of(config: Config) -> Engine:
    """The engine of a configuration; one that knows the configuration alone if it is missing.

    Raises:
        EngineError: it is installed in a version that this was not written for.
    """
    there = any(metadata.distributions(name=config.engine))
    where = f"vantage.training.{config.engine}.resolving" if there else "vantage.training.absent"
    return cast(Engine, import_module(where))
