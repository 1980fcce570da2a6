"""Parses options of a configuration or a recipe that are given on the command line."""

from __future__ import annotations

from typing import Any

from vantage.errors import ConfigError


def overrides(arguments: list[str]) -> dict[str, str]:
    """Parse `--section.option value` and `--section.option=value`; the last occurrence wins.

    Returns:
        "section.option" -> value as text.

    Raises:
        ConfigError: An argument has neither form.
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
    """Parse arguments of the form `name=value`, where the value is YAML.

    Raises:
        ConfigError: An argument has another form.
    """
    from vantage.yaml_values import value_of

    found: dict[str, Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not given or not name.isidentifier():
            raise ConfigError(f"--set {word!r}: expected name=value")
        found[name] = value_of(value, f"--set {name}")
    return found
