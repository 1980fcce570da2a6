"""Values written in YAML, read safely: bounded, each key once, numbers as everybody writes them."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

import yaml

from vantage.errors import ConfigError

DEPTH = 50
NODES = 100_000  # aliases counted as often as they are used

# YAML 1.1 reads 1e-6 as a text, 010 as 8, 12:30 as 750 and 2026-01-01 as a date; nobody means that.
FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*)?\.[0-9_]+|[0-9][0-9_]*\.?)(?:[eE][-+]?[0-9]+)\Z"
    r"|[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
OTHERWISE = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int", "tag:yaml.org,2002:timestamp")
# What PyYAML raises: of a text, and of a tag with a value that does not fit it.
WRONG = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError)


class _Forms(yaml.resolver.BaseResolver):
    """What a value without quotes is: by the rules of YAML 1.1, but for numbers and dates."""

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [(tag, form) for tag, form in known if tag not in OTHERWISE]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Forms.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
_Forms.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))


class _Loader(_Forms, yaml.SafeLoader):
    """Plain values alone. Refuses a key that comes twice and numbers that are not finite."""

    def compose_mapping_node(self, anchor):
        """Looks at keys before a merge (<<) brings those of other mappings in."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} comes twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node

    def construct_yaml_float(self, node):
        value = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value!r} is no finite number", problem_mark=node.start_mark
            )
        return value


class _Dumper(_Forms, yaml.SafeDumper):
    """Puts a text into quotes where `_Loader` would read something else."""


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def value_of(text: str, where: str) -> Any:
    """What a text means in YAML.

    Args:
        text: one document, of at most `DEPTH` levels and `NODES` values.
        where: it was written; stands first in the message.

    Raises:
        ConfigError: the text is not YAML, a key comes twice, a number is not finite, or there
            are too many levels or values.
    """
    try:
        loader = _Loader(text)
        loader.name = where
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, 1, 0)
        return loader.construct_document(node)
    except WRONG as error:
        raise ConfigError(f"{where}: not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not YAML: more than {DEPTH} levels") from error


def text_of(value: Any, *, flow: bool = False) -> str:
    """Plain values as YAML that `value_of` reads back as they were; `flow`: on one line."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=flow,
        width=10_000 if flow else None,
    )


def _count(node: yaml.Node, depth: int, before: int) -> int:
    """Values up to the end of `node`, of which `before` came before it."""
    now = before + 1
    if depth > DEPTH:
        raise yaml.YAMLError(f"more than {DEPTH} levels, or a value that holds itself")
    if now > NODES:
        raise yaml.YAMLError(f"more than {NODES} values")
    for child in _children(node):
        now = _count(child, depth + 1, now)
    return now


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
