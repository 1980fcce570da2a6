"""Rewards in forked processes and in threads: each process has its own helper."""

import io
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vantage.rewards import accuracy, mathematics


@pytest.fixture
def helper():
    """math-verify in its process, with an empty cache."""
    mathematics.forget()
    assert mathematics.same("\\sum_{i=1}^{3} i", "6")
    yield mathematics._helper
    mathematics.forget()


def rewards(first: int, count: int) -> list[float]:
    """Score answers that only math-verify can compare; every other one is right."""
    asked = range(first, first + count)
    said = [f"\\boxed{{\\sum_{{i=1}}^{{{n}}} i}}" for n in asked]
    truth = [str(n * (n + 1) // 2 + n % 2) for n in asked]
    return accuracy(said, answer=truth)


def expected(first: int, count: int) -> list[float]:
    return [float(n % 2 == 0) for n in range(first, first + count)]


def forked(work) -> tuple[int, int]:
    """Fork a process that does some work; return its id and the pipe of its result."""
    out, into = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.close(out)
            signal.alarm(60)
            os.write(into, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(into)
    return process, out


def told(process: int, out: int) -> str:
    with os.fdopen(out, "rb") as file:
        said = file.read().decode()
    os.waitpid(process, 0)
    return said


def test_first_comparison_is_made_before_the_helper_is_ready(monkeypatch, capsys):
    """What it loads does not count against the time limit of a question."""
    printed = []
    monkeypatch.setattr(mathematics, "verify", lambda *_: printed.append(capsys.readouterr().out))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    mathematics.serve()
    assert printed == [""] and capsys.readouterr().out == "ready\n"


def test_concurrent_forked_processes_get_their_own_verdicts(helper):
    children = [forked(lambda first=first: rewards(first, 40)) for first in (10, 100, 200, 300)]
    assert rewards(400, 40) == expected(400, 40)
    assert mathematics._helper is helper  # still this process's, and alive
    for first, child in zip((10, 100, 200, 300), children, strict=True):
        assert told(*child) == repr(expected(first, 40))


def test_a_fork_during_a_question_does_not_hang(helper):
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(rewards, 10, 60)
        children = []
        for first in (100, 110, 120):
            time.sleep(0.02)
            children.append(forked(lambda first=first: rewards(first, 4)))
        assert asking.result(60) == expected(10, 60)
    for first, child in zip((100, 110, 120), children, strict=True):
        assert told(*child) == repr(expected(first, 4))


def test_the_helper_ends_with_its_parent_even_if_a_fork_lives_on(helper):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        for pipe in (helper.process.stdin, helper.process.stdout):
            pipe.close()  # as when this process ends
        assert helper.process.wait(10) is not None
    finally:
        mathematics._helper = None
        os.close(writing)
        os.waitpid(child, 0)


def test_concurrent_threads_get_their_own_verdicts(helper):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda first: rewards(first, 15), (10, 50, 90, 130)))
    assert found == [expected(first, 15) for first in (10, 50, 90, 130)]


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_waiting_for_a_silent_helper_is_bounded(helper, number):
    helper.process.send_signal(number)
    began = time.monotonic()
    long = "x" * 200_000  # more than a pipe holds
    assert mathematics.compare(long, "6") is None
    assert time.monotonic() - began < mathematics.SECONDS + mathematics.GRACE + 5
    assert mathematics.compare("\\sum_{i=1}^{3} i", "6") is True


@pytest.mark.parametrize("said", [b"[1", b"nonsense\n", b"[7, true]\n", b"", b"x" * 10_000])
def test_an_invalid_reply_gives_no_verdict(helper, said):
    out, into = os.pipe()
    os.write(into, said)
    helper._out = out
    threading.Timer(0.3, os.close, [into]).start()
    assert helper.ask("1", "1", 0.1, seconds=0.2) is None
    os.close(out)
