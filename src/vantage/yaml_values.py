"""Reads plain values from YAML with bounded size, unique keys, and no surprising types."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from vantage import files
from vantage.errors import ConfigError

DEPTH = 50
NODES = 20_000  # an alias counts each time it is used
CHARACTERS = 500_000
TOLD = 500  # characters of an error message

# YAML 1.1 reads 1e-6 as a string, 010 as 8, 12:30 as 750 and 2026-01-01 as a date. Here 1e-6 is a
# float and the others are strings.
FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*)?\.[0-9_]+|[0-9][0-9_]*\.?)(?:[eE][-+]?[0-9]+)\Z"
    r"|[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
OTHERWISE = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int", "tag:yaml.org,2002:timestamp")
PLAIN = (
    None,  # the constructor that raises for any other tag
    *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str")),
    *(f"tag:yaml.org,2002:{kind}" for kind in ("seq", "map")),
)
# PyYAML raises YAMLError for bad syntax, and the others for a value that does not match its tag.
WRONG = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError)


class _Forms(yaml.resolver.BaseResolver):
    """Resolves the types of unquoted values as YAML 1.1 does, except for numbers and dates."""

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [(tag, form) for tag, form in known if tag not in OTHERWISE]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Forms.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
_Forms.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))


class _Loader(_Forms, yaml.SafeLoader):
    """Loads plain values only. Rejects duplicate keys and non-finite numbers."""

    yaml_constructors: ClassVar = {
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in PLAIN
    }

    def __init__(self, text: str):
        super().__init__(text)
        self._levels = self._nodes = 0

    def compose_node(self, parent, index):
        """Check the limits while composing, before a huge document fills the memory."""
        self._levels, self._nodes = self._levels + 1, self._nodes + 1
        _check(self._levels, self._nodes)
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def compose_mapping_node(self, anchor):
        """Check for duplicates before a merge (<<) adds keys of other mappings."""
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            value = self.construct_object(key)  # 1 and 1.0 are one key; so are yes, true
            if value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value[:80]!r} occurs twice", problem_mark=key.start_mark
                )
            seen.add(value)
        return node

    def construct_yaml_float(self, node):
        value = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value[:80]!r} is not a finite number", problem_mark=node.start_mark
            )
        return value


class _Dumper(_Forms, yaml.SafeDumper):
    """Quotes strings that `_Loader` would otherwise read as another type."""


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def value_of(text: str, where: str) -> Any:
    """Parse a YAML document.

    Args:
        text: One document of at most `CHARACTERS` characters, `DEPTH` levels and `NODES` values.
        where: Source of the text, for the error message.

    Raises:
        ConfigError: The text is not YAML, a key occurs twice, a number is not finite, or the
            document exceeds a limit.
    """
    if len(text) > CHARACTERS:
        raise ConfigError(f"{where}: more than {CHARACTERS:,} characters")
    try:
        loader = _Loader(text)
        loader.name = where
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, 1, 0)
        return loader.construct_document(node)
    except WRONG as error:
        raise ConfigError(f"{where}: not YAML: {str(error)[:TOLD]}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not YAML: more than {DEPTH} levels") from error


def read(path: Path, what: str) -> Any:
    """Parse a YAML file; see `value_of`.

    Args:
        path: Path of the file.
        what: Description of the file, for the error message.

    Raises:
        ConfigError: The file cannot be read or is not UTF-8, or as `value_of`; names the file.
    """
    files.check_readable(path, what)
    try:
        with path.open("rb") as file:
            content = file.read(4 * CHARACTERS + 1)  # a character has at most 4 bytes in UTF-8
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {what} {str(path)!r}: {files.reason(error)}") from error
    if len(content) > 4 * CHARACTERS:
        raise ConfigError(f"{path}: more than {CHARACTERS:,} characters")
    try:
        return value_of(content.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: not UTF-8 text") from error


def text_of(value: Any, *, flow: bool = False) -> str:
    """Format plain values as YAML, the inverse of `value_of`; `flow` puts it on one line."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=flow,
        width=10_000 if flow else None,
    )


def _count(node: yaml.Node, depth: int, before: int) -> int:
    """Count `before` plus the values in `node`, and check the limits on the way."""
    now = before + 1
    _check(depth, now)
    children = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in children for part in pair]
    for child in children:
        now = _count(child, depth + 1, now)
    return now


def _check(depth: int, nodes: int) -> None:
    if depth > DEPTH:
        raise yaml.YAMLError(f"more than {DEPTH} levels, or a value that contains itself")
    if nodes > NODES:
        raise yaml.YAMLError(f"more than {NODES} values")
