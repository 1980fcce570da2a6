"""Errors that a user can cause. Messages name the input, what was expected and what to do.

Every class inherits from `VantageError` and from the matching built-in exception, so both
`except VantageError` and `except ValueError` catch it.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator


class VantageError(Exception):
    """Base class of all errors that vantage raises on purpose."""


class InputError(VantageError, ValueError):
    """Input data (rollouts, rows, rewards) is invalid."""


class ConfigError(VantageError, ValueError):
    """An option is unknown, has the wrong type, or contradicts another option."""


class EngineError(VantageError, RuntimeError):
    """The installed engine or model does not support what the configuration asks for."""


def first_line(error: BaseException) -> str:
    """The first line of an error, at most 300 characters; its type if the message is empty."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextlib.contextmanager
def reading(what: str, why: Callable[[BaseException], str] = first_line) -> Iterator[None]:
    """Convert exceptions of a library that reads broken or hostile files into a ConfigError.

    Args:
        what: Start of the message: the user's input and what failed, such as "model 'm' cannot
            be loaded".
        why: Maps the exception to the rest of the message; by default its first line.

    Raises:
        ConfigError: The body raised an exception other than a `VantageError`.
    """
    try:
        yield
    except VantageError:
        raise
    except Exception as error:
        raise ConfigError(f"{what}: {why(error)}") from error


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Check that a number is within bounds; NaN never is.

    Raises:
        ConfigError: It is not; names the option, the value and the bounds.
    """
    if not low <= value <= high:
        raise ConfigError(f"{name}={value}: expected {low:g} to {high:g}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown `name`: the closest known name, or the first few."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"


def some(rows: Iterable[int], limit: int = 5) -> str:
    """Abbreviate a list of row numbers for an error message."""
    return some_names((str(int(row)) for row in rows), limit)


def some_names(names: Iterable[str], limit: int = 5) -> str:
    """Abbreviate a list of names for an error message."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
