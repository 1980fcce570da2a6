"""Errors that a user can cause, each naming the input, what was expected and what to do.

Every class inherits `VantageError` and the built-in type that fits, so both
`except VantageError` and `except ValueError` catch it.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator


class VantageError(Exception):
    """Root of all errors raised on purpose by vantage."""


class InputError(VantageError, ValueError):
    """Data handed to vantage (rollouts, rows, rewards) does not fit."""


class ConfigError(VantageError, ValueError):
    """An option is unknown, of a wrong type, or contradicts another one."""


class EngineError(VantageError, RuntimeError):
    """The installed engine (TRL) or model cannot do what is asked."""


def first_line(error: BaseException) -> str:
    """What an error says first, at most 300 characters; its type where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextlib.contextmanager
def reading(what: str, why: Callable[[BaseException], str] = first_line) -> Iterator[None]:
    """Turn whatever a library raises on broken or hostile files into an error that names them.

    Args:
        what: the user's input and what is made of it: "model 'm' cannot be loaded".
        why: what to tell of an error; by default its first line.

    Raises:
        ConfigError: `what` and `why`.
    """
    try:
        yield
    except VantageError:
        raise
    except Exception as error:
        raise ConfigError(f"{what}: {why(error)}") from error


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside of bounds, or none at all.

    Raises:
        ConfigError: names it and its bounds.
    """
    if not low <= value <= high:
        raise ConfigError(f"{name}={value}: expected {low:g} to {high:g}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown `name`: the closest known one, or the first few."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"


def some(rows: Iterable[int], limit: int = 5) -> str:
    """The first few of many row numbers, for an error message."""
    rows = [int(row) for row in rows]
    more = f" and {len(rows) - limit} more" if len(rows) > limit else ""
    return ", ".join(map(str, rows[:limit])) + more


def some_names(names: Iterable[str], limit: int = 5) -> str:
    """The first few of many names, for an error message."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
