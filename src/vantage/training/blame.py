"""Whose code failed: errors in the user's own rewards and recipes, told by name, file and line."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vantage.config import Config
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
    except Exception as error:
        told = place_of(error, own_code(config))
        if told is None:
            raise
        last = newest(Path(config.run.output))
        rest = f"the run up to there is in {last}: mend it, and go on with --resume"
        raise EngineError(f"{told}; {rest if last else 'no rollout batch was done'}") from error


def own_code(config: Config) -> dict[str, str]:
    """Code of the user that a configuration names: kind by "file.py:function"."""
    named = dict.fromkeys(config.rewards, "reward")
    for kind, given in (("recipe", config.recipe), ("sampling", config.data.sampling)):
        name = given.get("name", "") if isinstance(given, Mapping) else given
        named[str(name)] = kind
    return {name: kind for name, kind in named.items() if ":" in name}


def place_of(error: BaseException, code: Mapping[str, str]) -> str | None:
    """What failed where, None where no code of the user was at work."""
    frames: list[Any] = traceback.extract_tb(error.__traceback__)
    files = {_file(name): name for name in code}
    for frame in reversed(frames):
        name = files.get(str(Path(frame.filename).resolve()))
        if name is not None:
            return (
                f"the {code[name]} {name!r} failed: {frame.filename}, line {frame.lineno}, in "
                f"{frame.name}: {type(error).__name__}: {error}"
            )
    return None


def _file(name: str) -> str:
    """File of "file.py:function", or of "package.module:function" once it is loaded."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        return str(Path(where).expanduser().resolve())
    return str(Path(getattr(sys.modules.get(where), "__file__", None) or where).resolve())
