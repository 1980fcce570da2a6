"""Typed options: a section refuses unknown keys and wrong types, and says what it knows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from vantage import files
from vantage.errors import ConfigError, nearest
from vantage.renamed import OPTIONS


class Section(BaseModel):
    """A part of a configuration: unknown keys are refused, and so are values of a wrong type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _finite(cls, values: Any) -> Any:
        """Looks into options that have no type, as those of an engine or a recipe."""
        for name, number in not_finite(values):
            raise ValueError(f"{name}={number}: expected a finite number")
        return values


def not_finite(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Numbers in plain values that are NaN or infinite, with their dotted names."""
    waiting, seen = [(name, value)], set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield name, value
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))  # it may hold itself
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        waiting += [(f"{name}.{key}" if name else str(key), inside) for key, inside in pairs]


def _place(written: str) -> str:
    """A path, which is not empty."""
    if not written.strip():
        raise ValueError("expected a path or a name, got an empty text")
    if "\0" in written:
        raise ValueError(f"{written[:200]!r} has a NUL, which no path has")
    return written


def _named(spec: Any) -> Any:
    if isinstance(spec, str):
        return files.home(spec)
    return spec | {"name": files.home(spec["name"])} if isinstance(spec.get("name"), str) else spec


# A path in the file system, or a name on the hub; ~ is the home directory, as everywhere.
Place = Annotated[str, AfterValidator(_place), AfterValidator(files.home)]
# A name here, or a function of the user's own as "file.py:function".
Function = Annotated[str, AfterValidator(files.home)]
# The same with options: {name: ..., option: value}.
Named = Annotated[str | dict[str, Any], AfterValidator(_named)]


Parsed = TypeVar("Parsed", bound=Section)


def parsed(kind: type[Parsed], values: Any, where: str) -> Parsed:
    """A section made of plain values.

    Args:
        kind: which one.
        values: usually a dictionary read from YAML; one of the kind stays as it is.
        where: the first words of the message.

    Raises:
        ConfigError: an unknown key (with the nearest known one), or a value of a wrong type
            or out of range; all of them at once.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [_explain(kind, problem) for problem in error.errors()]
        raise ConfigError("\n".join([f"{where} refused:", *problems])) from error


def section_type(annotation: Any) -> type[Section] | None:
    """The section that an option holds, if it holds one."""
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
    """Options of the section at a path."""
    for part in path:
        kind = section_type(kind.model_fields[part].annotation) or kind
    return list(kind.model_fields)
