"""Values given on the command line for options of a configuration or of a recipe."""

from __future__ import annotations

from typing import Any

from vantage.errors import ConfigError


def overrides(arguments: list[str]) -> dict[str, str]:
    """`--section.option value` and `--section.option=value` as a mapping; the last one counts.

    Raises:
        ConfigError: something that is neither.
    """
    found: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, given, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not (given or waiting):
            raise ConfigError(f"{word!r}: expected --section.option value")
        found[name] = value if given else waiting.pop(0)
    return found


def settings_of(words: list[str]) -> dict[str, Any]:
    """`name=value` each, the value as in YAML.

    Raises:
        ConfigError: something else.
    """
    from vantage.yaml_values import value_of

    found: dict[str, Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not given or not name.isidentifier():
            raise ConfigError(f"--set {word!r}: expected name=value")
        found[name] = value_of(value, f"--set {name}")
    return found
