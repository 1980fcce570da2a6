"""Loads the user's own code, which a configuration names; each file once.

Each file is a module, whose name encodes the path of the file. So two files with the same name are
two modules, and a worker that unpickles a function or class of one can import it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from vantage import files
from vantage.errors import ConfigError, VantageError, nearest

__path__: list[str] = []  # so that Python asks the finder below for modules inside

PREFIX = f"{__name__}.file_"


class _Source(importlib.abc.FileLoader, importlib.abc.SourceLoader):  # type: ignore[misc]
    """Compiles a file each time; bytecode is neither read nor written."""


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the file whose path the name of a module encodes."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        file = os.fsdecode(bytes.fromhex(fullname.removeprefix(PREFIX)))
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Source(fullname, file)
        )


sys.meta_path.append(_Finder())


def is_own(name: str) -> bool:
    """Whether a name is one of the user's own code: "file.py:function" or "module:function"."""
    return ":" in name


def whole(name: str, folder: Path) -> str:
    """A name with the absolute path of its file; any other name unchanged.

    Args:
        name: as it was written.
        folder: to which its path is relative.
    """
    where, _, function = name.rpartition(":")
    if not where.endswith(".py"):
        return name
    return f"{os.path.normpath(folder.absolute() / Path(files.home(where)))}:{function}"


def relative(name: str, folder: Path) -> str:
    """A name with the path of its file relative to a directory; any other name unchanged."""
    where, _, function = name.rpartition(":")
    if not where.endswith(".py"):
        return name
    return f"{os.path.relpath(where, folder.absolute())}:{function}"


def short(name: str) -> str:
    """A name without the directory of its file."""
    return name.rpartition("/")[2] if is_own(name) else name


def file_of(name: str) -> str:
    """The file of "file.py:function", or of "module:function" once that is loaded."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        return str(_resolved(where) or where)
    return str(getattr(sys.modules.get(where), "__file__", None) or where)


def load(name: str) -> Callable[..., Any]:
    """The user's own function at "file.py:function" or "package.module:function".

    Args:
        name: a path in it that is not absolute is relative to the working directory.

    Raises:
        ConfigError: there is no such file, module or function, or it raises when it is loaded.
    """
    where, _, function = name.rpartition(":")
    module = _of_file(where) if where.endswith(".py") else _module(where)
    found = getattr(module, function, None)
    if not callable(found):
        known = [n for n, _ in inspect.getmembers(module, inspect.isfunction)]
        raise ConfigError(
            f"{name!r}: {where} has no function {function!r}; {_near(function, known)}"
        )
    return found


def _near(function: str, known: list[str]) -> str:
    return nearest(function, known) if known else "it has none"


def _of_file(where: str) -> ModuleType:
    file = _resolved(where)
    if file is None or not file.is_file():
        name = Path(where).name
        raise ConfigError(
            f"no file {name!r} in {str(Path(where).absolute().parent)!r}: paths are relative to "
            "the YAML file that names them, on the command line to the working directory"
        )
    try:
        return importlib.import_module(PREFIX + os.fsencode(file).hex())
    except (Exception, SystemExit) as error:  # whatever it raises when it is loaded
        place = place_in(error, [str(file)]) or f"{file}: {_told(error)}"
        raise ConfigError(f"{file.name!r} cannot be loaded: {place}") from error


def _resolved(where: str) -> Path | None:
    """The file of a path, with links resolved; None for what is no path."""
    try:
        file = Path(files.home(where)).resolve()
        file.stat()
    except (OSError, ValueError, RuntimeError):  # a NUL, too long a name, a circle of links
        return None
    return file


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"no module {name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"module {name!r} cannot be loaded: {_told(error)}") from error


@contextlib.contextmanager
def failing(what: str, files: Collection[str]) -> Iterator[None]:
    """Turn exceptions raised in the user's files into a ConfigError; others pass.

    Args:
        what: the first words of the message.
        files: of the user's code.

    Raises:
        ConfigError: names the file and the line.
    """
    try:
        yield
    except VantageError:
        raise
    except (Exception, SystemExit) as error:
        place = place_in(error, files)
        if place is None:
            raise
        raise ConfigError(f"{what}: {place}") from error


def place_in(error: BaseException, files: Collection[str]) -> str | None:
    """File, line and text of an error that was raised in or below `files`; None for any other."""
    if isinstance(error, SyntaxError) and error.filename in files:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files or str(Path(frame.filename).resolve()) in files:
            return f"{frame.filename}, line {frame.lineno}, in {frame.name}: {_told(error)}"
    return None


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its __str__ raises
        return type(error).__name__
