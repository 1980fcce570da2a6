"""One rule for both engines: where a section decides an option of the engine, the section counts.

The option under the name of the engine may repeat the value, and nothing else: of two values one
would be left out without a word.
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
    """Refuse options of an engine that say something else than the sections.

    Args:
        engine: section of the options.
        decided: option -> the value that the sections make.
        given: option -> what stands under the engine's name; others are not looked at.
        instead: option -> what to do, for each that is decided.

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
    """Whether two values say the same: some options of all, a text alone, a path."""
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
