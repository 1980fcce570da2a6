"""Whether two formulas are the same mathematics, asked of math-verify within a time limit.

math-verify can take for ever, in ways that no alarm inside of Python ends. So it works in a process
of its own, started when first needed, that gives up by an alarm and is replaced where it does not.
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

SECONDS = 0.8  # for one question, once the process has started
GRACE = 0.1  # seconds longer than the alarm of the process that it is waited for
START = 60.0  # seconds that the process may take to start
DIGITS = 30  # to which values are compared
MOST_KNOWN = 100_000
LONGEST_REPLY = 2**12  # bytes

_one_at_a_time = threading.Lock()
_known: dict[tuple[str, str], tuple[bool | None]] = {}


def same(given: str, truth: str, seconds: float = SECONDS) -> bool:
    """Whether they are; False when that cannot be told in time."""
    return compare(given, truth, seconds) is True


def compare(given: str, truth: str, seconds: float = SECONDS) -> bool | None:
    """Whether they are; None when that cannot be told in time."""
    known = _known.get((given, truth))
    if known is None:
        with _one_at_a_time:
            known = (_ask(given, truth, seconds),)
        if len(_known) < MOST_KNOWN:
            _known[given, truth] = known
    return known[0]


def forget() -> None:
    """Forget what was asked, and end the process."""
    _known.clear()
    with _one_at_a_time:
        _end()


class _Helper:
    """The process that compares, of this process alone.

    Neither a question nor a reply is waited for without a limit, whatever the process does.

    Raises:
        ImportError: it does not start.
    """

    def __init__(self) -> None:
        # -P: neither this directory nor the current one is searched for modules. In a session of
        # its own, so that Ctrl-C is for the run alone.
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
        """The reply to a question within some seconds, None without one."""
        until = time.monotonic() + seconds
        self._asked += 1
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
        """Let go of it in a forked process: it belongs to the one that forked."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for end in (self._into, self._out):
            os.dup2(nowhere, end, inheritable=False)
        os.close(nowhere)
        self.process.returncode = 0  # or Python would wait for it

    def _write(self, line: bytes, until: float) -> bool:
        while line:
            if not _ready(self._into, select.POLLOUT, until):
                return False
            try:
                line = line[os.write(self._into, line) :]
            except OSError:  # it died of the last one
                return False
        return True

    def _line(self, until: float) -> bytes | None:
        """A whole line that it writes; None where it dies, or does not end the line in time."""
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
    """Whether a file can be read or written before a time; its number may be above 1,024."""
    waiting = select.poll()
    waiting.register(file, event)
    return bool(waiting.poll(1000 * max(until - time.monotonic(), 0)))


_helper: _Helper | None = None


def _ask(given: str, truth: str, seconds: float) -> bool | None:
    """The verdict of the helper; one that gives none is replaced by the next question."""
    global _helper
    if _helper is None:
        _helper = _Helper()
    reply = None
    try:
        reply = _helper.ask(given, truth, seconds, seconds=seconds + GRACE)
    finally:  # also after Ctrl-C, or the next question would get this reply
        if reply is None:
            _end()
    return reply[0] if reply else None


def _end() -> None:
    global _helper
    if _helper is not None:
        _helper.end()
    _helper = None


def _forked() -> None:
    """A forked process has a helper and a lock of its own: replies to both would be mixed up."""
    global _helper, _one_at_a_time
    if _helper is not None:
        _helper.leave()
    _helper, _one_at_a_time = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)


class _LateError(BaseException):
    """The time is over; no `except Exception` on the way keeps it."""


def serve() -> None:
    """Answer questions, a line each, until there are no more."""
    import math_verify  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        number, *question = json.loads(line)
        print(json.dumps([number, _within_its_time(*question)]), flush=True)


def _within_its_time(given: str, truth: str, seconds: float) -> bool | None:
    """Whether they are the same; None after `seconds`."""
    try:
        with _alarm(seconds):
            return verify(given, truth)
    except _LateError:
        return None
    except Exception:  # whatever math-verify, SymPy and their parsers raise
        return False


def verify(given: str, truth: str) -> bool:
    """Whether they are, however long that takes."""
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
    """_LateError after a time; no collection of garbage, in which an alarm would be lost."""

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
