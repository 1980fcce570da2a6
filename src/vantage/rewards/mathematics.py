"""Whether two formulas are the same mathematics, asked of math-verify within a time limit.

math-verify can take for ever, in ways that no alarm inside of Python ends. So it works in a process
of its own, started when first needed, that gives up by an alarm and is replaced where it does not.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

SECONDS = 0.8  # for one question, once the process has started
GRACE = 0.1  # seconds longer than the alarm of the process that it is waited for
START = 60.0  # seconds that the process may take to start
DIGITS = 30  # to which values are compared

_one_at_a_time = threading.Lock()


def same(given: str, truth: str, seconds: float = SECONDS) -> bool:
    """Whether they are; False when that cannot be told in time."""
    return compare(given, truth, seconds) is True


def compare(given: str, truth: str, seconds: float = SECONDS) -> bool | None:
    """Whether they are; None when that cannot be told in time."""
    known = _known.get((given, truth))
    if known is None:
        with _one_at_a_time:
            known = _ask(given, truth, seconds)
        if len(_known) < MOST_KNOWN:
            _known[given, truth] = known
    return known[0]


MOST_KNOWN = 100_000
_known: dict[tuple[str, str], tuple[bool | None]] = {}


def forget() -> None:
    """Forget what was asked, and end the process."""
    _known.clear()
    if _process.cache_info().currsize:
        _process().kill()
        _process().wait()
    _process.cache_clear()


def _ask(given: str, truth: str, seconds: float) -> tuple[bool | None]:
    process = _process()
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps([given, truth, seconds]) + "\n")
        process.stdin.flush()
        if select.select([process.stdout], [], [], seconds + GRACE)[0]:
            return (json.loads(process.stdout.readline()),)
    except (BrokenPipeError, ValueError):  # it died of this answer: the next one gets another
        pass
    process.kill()
    process.wait()
    _process.cache_clear()
    return (None,)


@functools.cache
def _process() -> subprocess.Popen:
    """The process, ready to be asked."""
    # -P: neither this directory nor the current one is searched for modules.
    command = [sys.executable, "-P", __file__]
    # In a session of its own, so that Ctrl-C is for the run alone.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
        start_new_session=True,
    )
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], START)[0] or not process.stdout.readline():
        process.kill()
        raise ImportError("math-verify cannot be imported: pip install math-verify")
    return process


class _LateError(BaseException):
    """The time is over; no `except Exception` on the way keeps it."""


def serve() -> None:
    """Answer questions, a line each, until there are no more."""
    import math_verify  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_within_its_time(*json.loads(line))), flush=True)


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
