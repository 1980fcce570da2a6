"""Options of an engine must not contradict the sections of a configuration, on either engine.

An option under `trl` or `verl` may repeat the value of the section that decides it. Any other value
is refused, since one of the two would be dropped silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vantage import files
from vantage.errors import ConfigError


def check_decided(
    engine: str, decided: Mapping[str, Any], given: Mapping[str, Any], instead: Mapping[str, str]
) -> None:
    """Refuse options of an engine that contradict the sections.

    Args:
        engine: section of the options.
        decided: option -> the value that follows from the sections.
        given: option -> the value under the engine's name; those not decided are ignored.
        instead: option -> what to set instead, for each that is decided.

    Raises:
        ConfigError: names both values.
    """
    for name in given:
        if name in decided and not same(given[name], decided[name]):
            raise ConfigError(
                f"{engine}.{name}={given[name]!r:.200}: must stay {decided[name]!r:.200}; "
                f"{instead[name]}"
            )


def same(given: Any, value: Any) -> bool:
    """Whether a given value repeats a decided one.

    A mapping may give some of the options, one value stands for a list of it, and paths are
    compared as absolute paths.
    """
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        return all(name in value and same(given[name], value[name]) for name in given)
    if isinstance(given, list | tuple) or isinstance(value, list | tuple):
        pair = [list(one) if isinstance(one, list | tuple) else [one] for one in (given, value)]
        return pair[0] == pair[1]
    if isinstance(given, str) and isinstance(value, str):
        return given == value or _path(given) == _path(value)
    return given == value and isinstance(given, bool) == isinstance(value, bool)


def flat(options: Mapping[str, Any], whole: tuple[str, ...] = (), prefix: str = "") -> Iterator:
    """Pairs of dotted name and value; options of those in `whole` stay together."""
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in whole:
            yield from flat(value, whole, f"{name}.")
        else:
            yield name, value


def _path(text: str) -> Path:
    return Path(files.home(text)).absolute()
