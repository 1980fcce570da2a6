"""Atomic writes, lock files, and early checks of paths."""

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

# Errors of `flock` on file systems without locks, such as some network file systems.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
ROOM = "make room there, or choose another directory"
OTHER = "choose a directory that can be written"
# Errors of a file system, each with a remedy for the user.
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
    """Expand ~ or ~user in a path; return any other text unchanged."""
    # Path.expanduser raises for an unknown user; this one leaves the path as it is.
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111


class Lock:
    """A lock file that a process holds until it releases it or ends.

    On a file system without locks, logs a warning and locks nothing.

    Args:
        path: Path of the lock file, which is removed on release.
        taken: Error message if another process holds the lock.
        option: Option that names the directory of the file, for error messages.

    Raises:
        ConfigError: Another process holds the lock, or the file cannot be created.
    """

    def __init__(self, path: Path, taken: str, option: str):
        self.path, self._option = path, option
        self._handle = self._open()
        try:
            # Between our open and our lock, the previous holder may have removed the file. Then
            # we hold a lock on a deleted inode, which excludes nobody.
            while not self._is_ours(taken):
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
    """Lock an open file until it is closed.

    On a file system without locks, logs a warning and locks nothing.

    Raises:
        ConfigError: Another process holds the lock (with the message `taken`), or locking fails.
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
    """The operating system's message for an error, or Python's if there is none."""
    return getattr(error, "strerror", None) or str(error)


def encodable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, with `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def check_writable(path: Path, option: str, *, folder: bool = False) -> None:
    """Check, before any work, that a path can be written; creates nothing.

    Args:
        path: A file or directory that may not exist yet.
        option: Option that names the path, for the error message.
        folder: Whether the path is a directory.

    Raises:
        ConfigError: The path is a directory instead of a file or the reverse, it is below a file
            or a read-only directory, or it is invalid.
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
    """Reject a path that could block when read, except a pipe of the shell, as in <(...).

    Args:
        path: A file. A missing file passes, since the read that follows reports it.
        what: Description of the file, for the error message.

    Raises:
        ConfigError: The path is a FIFO, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # missing or invalid; the read that follows has the better message
    kind = next((name for is_kind, name in KINDS.items() if is_kind(mode)), None)
    from_shell = path.parts[:2] in (("/", "dev"), ("/", "proc"))  # <(...) of bash
    if kind and not (from_shell and kind != "a device"):
        raise ConfigError(f"{what} {str(path)!r} is {kind}, expected a file")


@contextlib.contextmanager
def naming(place: Path) -> Iterator[None]:
    """Add the path to an OSError that lacks it, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(place)
        raise


@contextlib.contextmanager
def whole(place: Path) -> Iterator[Path]:
    """Write a file atomically: yields a temporary path that is renamed to `place` on success.

    Raises:
        OSError: A read or a write failed; names `place` if the error has no path yet.
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
    """Write a file atomically: it has either its old content or all of the new content."""
    with whole(place) as unfinished:
        unfinished.write_bytes(content)


def flush(place: Path) -> None:
    """Flush a file or a directory to disk with fsync."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
