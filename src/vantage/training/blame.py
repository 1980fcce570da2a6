"""Reports errors in the user's own rewards, recipes and question samplings, with file and line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from vantage import plugins
from vantage.config import Config, own_code
from vantage.errors import EngineError, VantageError
from vantage.training.directory import newest


@contextlib.contextmanager
def blamed(config: Config) -> Iterator[None]:
    """Convert an exception from the user's own code into an EngineError that locates it.

    Raises:
        EngineError: The user's code raised; names the function, its file and line, and the
            checkpoint to resume from.
    """
    try:
        yield
    except VantageError:
        raise
    except (Exception, SystemExit) as error:
        told = place_of(error, own_code(config))
        if told is None:
            raise
        last = newest(Path(config.run.output))
        rest = f"progress is saved in {last}: fix the code, then continue with --resume"
        raise EngineError(f"{told}; {rest if last else 'no rollout batch was done'}") from error


def place_of(error: BaseException, code: Mapping[str, str]) -> str | None:
    """Describe which code of the user raised an error, and where.

    Args:
        error: The exception.
        code: Name -> kind, from `vantage.config.own_code`.

    Returns:
        The description, or None if the traceback contains none of the user's code.
    """
    for name, kind in code.items():
        place = plugins.place_in(error, [plugins.file_of(name)])
        if place is not None:
            return f"the {kind} {plugins.short(name)!r} failed: {place}"
    return None
