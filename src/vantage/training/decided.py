"""Checks that options of an engine do not contradict the sections of a configuration.

An option under `trl` or `verl` may repeat the value that a section determines. Any other value is
an error, since one of the two would be ignored silently.
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
    """Check that options of an engine do not contradict the sections.

    Args:
        engine: Name of the engine, which is the section of its options.
        decided: Option -> value that the sections determine.
        given: Option -> value in the engine's section. Options not in `decided` are ignored.
        instead: Option in `decided` -> advice on what to set instead.

    Raises:
        ConfigError: An option contradicts the sections; names both values.
    """
    for name in given:
        if name in decided and not same(given[name], decided[name]):
            raise ConfigError(
                f"{engine}.{name}={given[name]!r:.200}: must stay {decided[name]!r:.200}; "
                f"{instead[name]}"
            )


def same(given: Any, value: Any) -> bool:
    """Whether a given value repeats a determined one.

    A given mapping may be partial, a scalar equals a list of that one value, and paths are
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
    """Yield (dotted name, value) of nested options; mappings in `whole` are not flattened."""
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in whole:
            yield from flat(value, whole, f"{name}.")
        else:
            yield name, value


def _path(text: str) -> Path:
    return Path(files.home(text)).absolute()
