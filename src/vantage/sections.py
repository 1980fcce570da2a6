"""Typed sections of a configuration that reject unknown keys and wrong types."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from vantage import files
from vantage.errors import ConfigError, nearest
from vantage.renamed import OPTIONS


class Section(BaseModel):
    """Base class of sections. Unknown keys and values of the wrong type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _finite(cls, values: Any) -> Any:
        """Check untyped options too, such as those of an engine or a recipe."""
        for name, number in not_finite(values):
            raise ValueError(f"{name}={number}: expected a finite number")
        return values


def not_finite(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield NaN and infinite numbers in plain values, with their dotted names."""
    waiting, seen = [(name, value)], set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield name, value
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))  # a YAML alias can make a value contain itself
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        waiting += [(f"{name}.{key}" if name else str(key), inside) for key, inside in pairs]


def _place(written: str) -> str:
    """Reject an empty path and one with a NUL character."""
    if not written.strip():
        raise ValueError("expected a path or a name, got an empty string")
    if "\0" in written:
        raise ValueError(f"{written[:200]!r} contains a NUL, which no path can have")
    return written


def _named(spec: Any) -> Any:
    if isinstance(spec, str):
        return files.home(spec)
    return spec | {"name": files.home(spec["name"])} if isinstance(spec.get("name"), str) else spec


# A path in the file system or a name on the hub; ~ expands to the home directory.
Place = Annotated[str, AfterValidator(_place), AfterValidator(files.home)]
# A registered name, or the user's own function as "file.py:function".
Function = Annotated[str, AfterValidator(files.home)]
# The same, optionally with options: {name: ..., option: value}.
Named = Annotated[str | dict[str, Any], AfterValidator(_named)]


Parsed = TypeVar("Parsed", bound=Section)


def parsed(kind: type[Parsed], values: Any, where: str) -> Parsed:
    """Build a section from plain values.

    Args:
        kind: Class of the section.
        values: Usually a dictionary read from YAML; an instance of `kind` is returned unchanged.
        where: Source of the values, for the error message.

    Raises:
        ConfigError: A key is unknown (the closest known key is suggested), or a value has the
            wrong type or is out of range. Lists all problems at once.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [_explain(kind, problem) for problem in error.errors()]
        raise ConfigError("\n".join([f"{where} is invalid:", *problems])) from error


def section_type(annotation: Any) -> type[Section] | None:
    """The section class in the type of an option, or None."""
    kinds = (annotation, *getattr(annotation, "__args__", ()))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)


def _explain(kind: type[Section], problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or kind.__name__.lower()
    if problem["type"] == "extra_forbidden":
        section = kind.__name__.lower() if len(problem["loc"]) == 1 else ""
        new = OPTIONS.get(f"{section}.{where}".lstrip("."))
        if new:
            return f"  {where}: renamed to {new}"
        known = _known(kind, problem["loc"][:-1])
        return f"  {where}: unknown; {nearest(str(problem['loc'][-1]), known)}"
    words = problem["msg"].removeprefix("Value error, ")
    given = "" if problem["type"] in ("missing", "value_error") else f", got {problem['input']!r}"
    if problem["type"] == "string_type" and isinstance(problem["input"], bool | int | float | dict):
        given += "; write it in quotes"
    return f"  {where}: {words}{given}"


def _known(kind: type[Section], path: tuple[Any, ...]) -> list[str]:
    """Names of the options of the section at a path."""
    for part in path:
        kind = section_type(kind.model_fields[part].annotation) or kind
    return list(kind.model_fields)
