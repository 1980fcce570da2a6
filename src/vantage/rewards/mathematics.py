"""Equality of two formulas by math-verify, within a time limit.

math-verify can run forever in ways that an alarm inside Python does not interrupt. It therefore
runs in a separate process, which starts on first use. The process limits itself by an alarm; if it
still does not reply in time, it is killed and the next question starts another one.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SECONDS = 0.8  # time limit of one question, once the process has started
GRACE = 0.1  # seconds to wait for the reply after the alarm of the process
START = 60.0  # seconds that the process may take to start
DIGITS = 30  # precision of the comparison, in decimal digits
MOST_KNOWN = 100_000
LONGEST_REPLY = 2**12  # bytes

_one_at_a_time = threading.Lock()
_known: dict[tuple[str, str], tuple[bool | None]] = {}


def same(given: str, truth: str, seconds: float = SECONDS) -> bool:
    """Return whether two formulas are equal; False if this takes longer than `seconds`."""
    return compare(given, truth, seconds) is True


def compare(given: str, truth: str, seconds: float = SECONDS) -> bool | None:
    """Return whether two formulas are equal; None if this takes longer than `seconds`."""
    known = _known.get((given, truth))
    if known is None:
        with _one_at_a_time:
            known = (_ask(given, truth, seconds),)
        if len(_known) < MOST_KNOWN:
            _known[given, truth] = known
    return known[0]


def forget() -> None:
    """Clear the cache of verdicts and end the process."""
    _known.clear()
    with _one_at_a_time:
        _end()


class _Helper:
    """The process that runs math-verify, owned by this process alone.

    Every read and write has a time limit, so a stuck process never blocks the caller.

    Raises:
        ImportError: If the process does not start.
    """

    def __init__(self) -> None:
        # -P keeps this directory and the current one off the module search path. A new session
        # keeps Ctrl-C, which interrupts the run, from reaching the helper.
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._into, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._into, False)
        self._asked = 0
        if self._line(time.monotonic() + START) is None:
            self.end()
            raise ImportError("math-verify cannot be imported: pip install math-verify")

    def ask(self, *question: Any, seconds: float) -> tuple[bool | None] | None:
        """Return the verdict on a question in a tuple; None without a reply after `seconds`."""
        until = time.monotonic() + seconds
        self._asked += 1  # numbers pair replies with questions, so a stray reply is discarded
        if not self._write(json.dumps([self._asked, *question]).encode() + b"\n", until):
            return None
        reply = self._line(until)
        try:
            number, said = json.loads(reply or b"[0, 0]")
        except ValueError:
            return None
        return (said,) if number == self._asked else None

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def leave(self) -> None:
        """Detach from the helper in a forked process: it belongs to the parent."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for end in (self._into, self._out):
            os.dup2(nowhere, end, inheritable=False)
        os.close(nowhere)
        self.process.returncode = 0  # keeps Popen from waiting for a process of the parent

    def _write(self, line: bytes, until: float) -> bool:
        while line:
            if not _ready(self._into, select.POLLOUT, until):
                return False
            try:
                line = line[os.write(self._into, line) :]
            except OSError:  # the previous question killed the process
                return False
        return True

    def _line(self, until: float) -> bytes | None:
        """Read one whole line; None if the process dies or the time is over."""
        said = b""
        while not said.endswith(b"\n"):
            if not _ready(self._out, select.POLLIN, until):
                return None
            piece = os.read(self._out, LONGEST_REPLY)
            said += piece
            if not piece or len(said) > LONGEST_REPLY:
                return None
        return said


def _ready(file: int, event: int, until: float) -> bool:
    """Wait until a file can be read or written; False once the time is over.

    `poll` rather than `select`, which accepts no file descriptor above 1,023.
    """
    waiting = select.poll()
    waiting.register(file, event)
    return bool(waiting.poll(1000 * max(until - time.monotonic(), 0)))


_helper: _Helper | None = None


def _ask(given: str, truth: str, seconds: float) -> bool | None:
    """Return the verdict of the helper; end a helper that gives none, so the next one is new."""
    global _helper
    if _helper is None:
        _helper = _Helper()
    reply = None
    try:
        reply = _helper.ask(given, truth, seconds, seconds=seconds + GRACE)
    finally:  # after Ctrl-C too: the next question must not read the reply to this one
        if reply is None:
            _end()
    return reply[0] if reply else None


def _end() -> None:
    global _helper
    if _helper is not None:
        _helper.end()
    _helper = None


def _forked() -> None:
    """Reset helper and lock in a forked process: a shared helper would mix up the replies."""
    global _helper, _one_at_a_time
    if _helper is not None:
        _helper.leave()
    _helper, _one_at_a_time = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)


class _LateError(BaseException):
    """The time is over; a BaseException, so that no `except Exception` in SymPy swallows it."""


def serve() -> None:
    """Answer questions from stdin, one JSON line each, until it closes."""
    # The first question loads parsers and rules, which must not count against its time limit.
    verify(r"\sum_{i=1}^{3} i", "6")
    print("ready", flush=True)
    for line in sys.stdin:
        number, *question = json.loads(line)
        print(json.dumps([number, _within_its_time(*question)]), flush=True)


def _within_its_time(given: str, truth: str, seconds: float) -> bool | None:
    """Return whether two formulas are equal; None after `seconds`."""
    try:
        with _alarm(seconds):
            return verify(given, truth)
    except _LateError:
        return None
    except Exception:  # whatever math-verify, SymPy and their parsers raise
        return False


def verify(given: str, truth: str) -> bool:
    """Return whether two formulas are equal, without a time limit."""
    from math_verify import LatexExtractionConfig, parse
    from math_verify import verify as verified

    how = [LatexExtractionConfig()]
    read = [
        parse(f"${text}$", how, fallback_mode="no_fallback", parsing_timeout=None)
        for text in (truth, given)
    ]
    return all(read) and bool(
        verified(*read, float_rounding=DIGITS, numeric_precision=2 * DIGITS, timeout_seconds=None)
    )


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise _LateError after a time; without garbage collection, which would lose the alarm."""

    def ring(*_: Any) -> None:
        raise _LateError

    signal.signal(signal.SIGALRM, ring)
    gc.disable()
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()


if __name__ == "__main__":
    serve()
