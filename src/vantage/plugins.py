"""Loads the user's own code that a configuration names, each file once.

Each file becomes a module whose name encodes the path of the file. So files with the same name are
distinct modules, and a worker process that unpickles a function or class can import its module.
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

__path__: list[str] = []  # makes this a package, so that Python asks the finder for submodules

PREFIX = f"{__name__}.file_"


class _Source(importlib.abc.FileLoader, importlib.abc.SourceLoader):  # type: ignore[misc]
    """Compiles the source each time, without reading or writing bytecode."""


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the file whose path is encoded in the name of a module."""

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
    """Whether a name refers to the user's own code: "file.py:function" or "module:function"."""
    return ":" in name


def whole(name: str, folder: Path) -> str:
    """Make the path in "file.py:function" absolute; return any other name unchanged.

    Args:
        name: The name as written by the user.
        folder: Directory that relative paths start from.
    """
    where, _, function = name.rpartition(":")
    if not where.endswith(".py"):
        return name
    return f"{os.path.normpath(folder.absolute() / Path(files.home(where)))}:{function}"


def relative(name: str, folder: Path) -> str:
    """Make the path in "file.py:function" relative to a directory; the inverse of `whole`."""
    where, _, function = name.rpartition(":")
    if not where.endswith(".py"):
        return name
    return f"{os.path.relpath(where, folder.absolute())}:{function}"


def short(name: str) -> str:
    """Drop the directory from "path/file.py:function"."""
    return name.rpartition("/")[2] if is_own(name) else name


def file_of(name: str) -> str:
    """The file of "file.py:function", or of "module:function" if the module is loaded."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        return str(_resolved(where) or where)
    return str(getattr(sys.modules.get(where), "__file__", None) or where)


def load(name: str) -> Callable[..., Any]:
    """Load a function from "file.py:function" or "package.module:function".

    Args:
        name: Name of the function. Relative paths start from the working directory.

    Raises:
        ConfigError: The file, module or function does not exist, or importing it raises.
    """
    where, _, function = name.rpartition(":")
    module = _of_file(where) if where.endswith(".py") else _module(where)
    found = getattr(module, function, None)
    if not callable(found):
        known = [n for n, _ in inspect.getmembers(module, inspect.isfunction)]
        hint = nearest(function, known) if known else "it has none"
        raise ConfigError(f"{name!r}: {where} has no function {function!r}; {hint}")
    return found


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
    except (Exception, SystemExit) as error:  # user code can raise anything, or call exit()
        place = place_in(error, [str(file)]) or f"{file}: {_told(error)}"
        raise ConfigError(f"{file.name!r} cannot be loaded: {place}") from error


def _resolved(where: str) -> Path | None:
    """The file at a path, with symbolic links resolved; None if the path is invalid."""
    try:
        file = Path(files.home(where)).resolve()
        file.stat()
    except (OSError, ValueError, RuntimeError):  # a NUL, a long name, a cycle of links
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
    """Convert exceptions raised in the user's files into a ConfigError; let others propagate.

    Args:
        what: Start of the error message.
        files: Paths of the user's files.

    Raises:
        ConfigError: The body raised in one of the files; names the file and the line.
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
    """File, line and message of an error raised in `files` or in their callees, else None."""
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
