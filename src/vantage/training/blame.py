"""Whose code failed: errors in the user's own rewards and recipes, told by name, file and line."""

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
    """Errors that code of the user raises, as errors of the user.

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
        rest = f"the run up to there is in {last}: mend it, and go on with --resume"
        raise EngineError(f"{told}; {rest if last else 'no rollout batch was done'}") from error


def place_of(error: BaseException, code: Mapping[str, str]) -> str | None:
    """What failed where, None where no code of the user was at work."""
    for name, kind in code.items():
        place = plugins.place_in(error, [plugins.file_of(name)])
        if place is not None:
            return f"the {kind} {plugins.short(name)!r} failed: {place}"
    return None
