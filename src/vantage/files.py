"""Atomic writes, lock files, and checks of paths before any work."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vantage.errors import ConfigError

logger = logging.getLogger(__name__)

# Errors of `flock` on a file system without locks, such as some network file systems.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
ROOM = "make room there, or choose another directory"
OTHER = "choose a directory that can be written"
# Errors of a disk, and what a user does about them.
OF_DISK = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT), OTHER),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ESTALE), OTHER),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.EINVAL), OTHER),
}
KINDS = {
    stat.S_ISFIFO: "a FIFO",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def home(path: str) -> str:
    """A path with ~ or ~user expanded; any other text unchanged."""
    # pathlib's raises if there is no such user.
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111


class Lock:
    """A lock file that one process holds until it is released or the process ends.

    On a file system without locks a warning is logged and nothing is locked.

    Args:
        path: of the file; it is removed when the lock is released.
        taken: the message if another process holds it.
        option: the option that names the directory of the file, for messages.

    Raises:
        ConfigError: another process holds it, or the file cannot be created.
    """

    def __init__(self, path: Path, taken: str, option: str):
        self.path, self._option = path, option
        self._handle = self._open()
        try:
            while not self._is_ours(taken):  # who had it removed the file in between
                os.close(self._handle)
                self._handle = self._open()
        except BaseException:
            self._let_go()
            raise

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Remove the file and unlock it."""
        if self._handle >= 0:
            self.path.unlink(missing_ok=True)
            self._let_go()

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
        except OSError as error:
            where = f"{self._option}: {str(self.path.parent)!r}"
            raise ConfigError(f"{where} {unwritable(error)}") from error

    def _is_ours(self, taken: str) -> bool:
        lock(self._handle, taken, self.path)
        try:
            return os.path.samestat(os.fstat(self._handle), self.path.stat())
        except FileNotFoundError:
            return False

    def _let_go(self) -> None:
        os.close(self._handle)
        self._handle = -1


def lock(handle: int, taken: str, path: Path) -> None:
    """Lock an open file, for as long as it is open.

    On a file system without locks a warning is logged and nothing is locked.

    Raises:
        ConfigError: `taken`, if another process holds the lock.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(taken) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise ConfigError(f"{str(path)!r} cannot be locked: {reason(error)}") from error
        logger.warning(
            f"{str(path)!r}: this file system has no locks: make sure that no other process "
            "writes there"
        )


def unwritable(error: OSError) -> str:
    """Why a path cannot be written, and what to do."""
    remedy = OF_DISK.get(error.errno or 0, OTHER)
    return f"cannot be written: {reason(error)}; {remedy}"


def reason(error: OSError | ValueError) -> str:
    """The system's words for an error of a path, or Python's if there are none."""
    return getattr(error, "strerror", None) or str(error)


def encodable(text: str) -> str:
    """A text that UTF-8 can encode: `?` stands for each half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8")


def check_writable(path: Path, option: str, *, folder: bool = False) -> None:
    """Refuse, before any work, a path that cannot be written; nothing is created.

    Args:
        path: of a file or directory that may not exist yet.
        option: the option that names it, for the message.
        folder: whether it is a directory.

    Raises:
        ConfigError: it is a directory instead of a file or the reverse, it is below a file or a
            read-only directory, or it is no path.
    """
    named = f"{option}: {str(path)[:300]!r}"
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
    except OSError as error:
        raise ConfigError(f"{named} {unwritable(error)}") from error
    if there == path and path.is_dir() is not folder:
        found, expected = ("a file", "a directory") if folder else ("a directory", "a file")
        raise ConfigError(f"{named} is {found}, expected {expected}")
    if not there.is_dir() and there != path:
        raise ConfigError(f"{named}: {str(there)!r} is a file")
    needed = os.W_OK | os.X_OK if there.is_dir() else os.W_OK
    if not os.access(there, needed):
        raise ConfigError(f"{named} cannot be written: {str(there)!r} is read-only")


def check_readable(path: Path, what: str) -> None:
    """Refuse a path whose reading could block; the pipes of a shell, as in <(...), are allowed.

    Args:
        path: of a file; one that does not exist is left to whoever reads it.
        what: it is, for the message.

    Raises:
        ConfigError: a FIFO, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # not there, or no path
        return  # whoever reads it says more
    kind = next((name for is_kind, name in KINDS.items() if is_kind(mode)), None)
    from_shell = path.parts[:2] in (("/", "dev"), ("/", "proc"))  # as <(...) of bash
    if kind and not (from_shell and kind != "a device"):
        raise ConfigError(f"{what} {str(path)!r} is {kind}, expected a file")


@contextlib.contextmanager
def naming(place: Path) -> Iterator[None]:
    """Add the path to an error of the disk; the error of a full disk has none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(place)
        raise


@contextlib.contextmanager
def whole(place: Path) -> Iterator[Path]:
    """Where to write a file that appears whole at the end, and not at all after an error.

    Raises:
        OSError: names `place`, or what else cannot be read or written.
    """
    unfinished = place.with_name(f".{place.name}")
    try:
        with naming(place):
            yield unfinished
            flush(unfinished)
            unfinished.rename(place)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write(place: Path, content: bytes) -> None:
    """Write a file atomically: afterwards it has either the old or the whole new content."""
    with whole(place) as unfinished:
        unfinished.write_bytes(content)


def flush(place: Path) -> None:
    """Wait until a file or a directory is on the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
