"""Errors in the user's own rewards, recipes and samplings, reported by name, file and line."""

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
    """Turn an exception from the user's own code into an error that says where it was raised.

    Raises:
        EngineError: names the function, its file and line, and the checkpoint to resume from.
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
        rest = f"the run so far is in {last}: fix the code, then continue with --resume"
        raise EngineError(f"{told}; {rest if last else 'no rollout batch was done'}") from error


def place_of(error: BaseException, code: Mapping[str, str]) -> str | None:
    """Which code of the user raised an error, and where; None if none of it is in the traceback.

    Args:
        error: what was raised.
        code: kind by name, as `vantage.config.own_code`.
    """
    for name, kind in code.items():
        place = plugins.place_in(error, [plugins.file_of(name)])
        if place is not None:
            return f"the {kind} {plugins.short(name)!r} failed: {place}"
    return None
