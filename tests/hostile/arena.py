"""Runs hostile cases, each in a forked process that is watched.

What is told of a case: its exit status, whether an exception got out, what it asked of the network,
what it started, how long it took, how much memory it took above the start, and whether a refusal
names something that the user gave.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vantage

SECONDS = 10  # that a case may take
KILLED = 20  # and after which it is ended
MEGABYTES = 1024  # that it may take above the start
ROOM = 4 << 30  # of addresses: what goes beyond ends with a MemoryError
CANARY = "canary"  # what hostile code writes, if it is run
# Of audited events: what asks the network, and what starts something.
ASKING = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
STARTING = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pty.spawn")
LOCAL = ("127.0.0.1", "localhost", "::1", None, "")
HARMLESS = ("git", "uname", "lscpu", "ldconfig", "gcc", "cc", "fc-list")
OURS = str(Path(vantage.__file__).parent)  # helpers of ours are processes of their own
REFUSED = (1, 2)
LONGEST = 60  # letters of a name that a message has to show
# Of libraries: bars above each other, and a heading of transformers.
PRINTED = re.compile("\x1b\\[A\r|\x1b\\[1m\\w+ LOAD REPORT\x1b\\[0m")
CONTROLS = {*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A, 0x0D}


@dataclass(frozen=True)
class Case:
    """A hostile input.

    Attributes:
        entry: the command, or "api".
        kind: what is hostile.
        name: of the case.
        prepare: folder and what is shared -> arguments of the command, or a function to call.
        environment: variables that are set.
        names: what a refusal has to say, one of them; by default one of the arguments.
    """

    entry: str
    kind: str
    name: str
    prepare: Callable[[Path, Any], Sequence[str] | Callable[[], Any]]
    environment: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The whole name."""
        return f"{self.entry}-{self.kind}-{self.name}"


@dataclass
class Outcome:
    """Outcome of a case.

    Attributes:
        status: 0 accepted, others refused; None where it did not end by itself.
        escaped: the traceback of an exception that got out, or one that was printed.
        asked, started: on the network, as processes.
        ran: whether hostile code was run.
        seconds, megabytes: that it took.
        raw: control characters in what it printed.
        named: whether a refusal names what the user gave.
        said: the end of what it printed.
    """

    status: int | None = None
    escaped: str = ""
    asked: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    ran: bool = False
    seconds: float = 0.0
    megabytes: float = 0.0
    raw: str = ""
    named: bool = True
    said: str = ""

    @property
    def problems(self) -> list[str]:
        """Names of broken guarantees."""
        found = []
        if self.status is None:
            found.append(f"did not end within {KILLED} s, or died: {self.said[-500:]}")
        elif self.seconds > SECONDS:
            found.append(f"took {self.seconds:.1f} s")
        if self.escaped:
            found.append(f"traceback: {self.escaped[-1500:]}")
        if self.asked:
            found.append(f"asked {self.asked[:3]}")
        if self.started:
            found.append(f"started {self.started[:3]}")
        if self.ran:
            found.append("ran hostile code")
        if self.megabytes > MEGABYTES:
            found.append(f"took {self.megabytes:,.0f} MB")
        if self.raw:
            found.append(f"printed control characters: {self.raw[:200]!r}")
        if not self.named:
            found.append(f"names nothing that the user gave: {self.said[-500:]}")
        return found


def run(
    cases: Sequence[Case], folder: Path, shared: Any, together: int = 2
) -> Iterator[tuple[Case, Outcome]]:
    """Each case in a forked process, some at a time.

    Args:
        cases: which ones.
        folder: where each gets a folder of its own.
        shared: what all of them may read.
        together: processes at a time.
    """
    waiting, running = list(enumerate(cases)), {}
    while waiting or running:
        while waiting and len(running) < together:
            number, case = waiting.pop(0)
            place = folder / str(number)
            place.mkdir()
            arguments = case.prepare(place, shared)
            words = _words(case, arguments)
            running[_start(case, place, arguments)] = (case, place, words, time.monotonic())
        for pid, (case, place, words, start) in list(running.items()):
            ended = os.waitpid(pid, os.WNOHANG)[0]
            if not ended and time.monotonic() - start > KILLED:
                os.killpg(pid, signal.SIGKILL)
                ended = os.waitpid(pid, 0)[0]
            if ended:
                del running[pid]
                yield case, _outcome(place, words)
                shutil.rmtree(place, ignore_errors=True)
        time.sleep(0.002)


def _start(case: Case, place: Path, arguments: Sequence[str] | Callable[[], Any]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _watched(case, place, arguments)
    finally:
        os._exit(0)


def _watched(case: Case, place: Path, arguments: Sequence[str] | Callable[[], Any]) -> None:
    """The case itself, in a process of its own; what is told of it is written to a file."""
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(place / f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), "utf-8", "surrogateescape")
        for descriptor in (1, 2)
    )
    work = place / "work"
    work.mkdir(exist_ok=True)
    os.chdir(work)
    os.environ.update(case.environment)
    outcome, before = Outcome(), _resident()
    size = _status("VmSize") * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, 2 << 30))
    sys.addaudithook(lambda event, given: _note(outcome, event, given))
    start = time.monotonic()
    outcome.status, outcome.escaped = _called(arguments)
    outcome.seconds = time.monotonic() - start
    sys.stdout.flush()
    sys.stderr.flush()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    outcome.megabytes = max(_status("VmHWM") / 1024, children) - before
    (place / ".outcome").write_text(json.dumps(outcome.__dict__))


def _called(arguments: Sequence[str] | Callable[[], Any]) -> tuple[int, str]:
    from accelerate.state import AcceleratorState

    from vantage.cli import application
    from vantage.errors import VantageError

    AcceleratorState._reset_state(reset_partial_state=True)  # of the run that all share
    try:
        if callable(arguments):
            arguments()
            return 0, ""
        sys.argv = ["vantage", *arguments]
        application.console = application.Console(width=200)
        application.main()
    except SystemExit as end:
        return int(end.code or 0), ""
    except VantageError as error:
        print(error)
        return 2, ""
    except BaseException:
        return 3, traceback.format_exc()
    return 0, ""


def _note(outcome: Outcome, event: str, given: tuple[Any, ...]) -> None:
    """Writes down what a process asks and starts, and keeps it from asking others."""
    if event in ASKING:
        address = given[1] if event in ("socket.connect", "socket.sendto") else given
        host = address[0] if isinstance(address, tuple) and address else address
        host = host.decode("utf-8", "replace") if isinstance(host, bytes) else host
        if host not in LOCAL and not str(host).startswith(("/", "\0")):
            outcome.asked.append(f"{event} {address!r}")
            raise OSError(f"{host!r} must not be asked")
    elif event in STARTING:
        words = given[0] if event == "os.system" else given[:2]
        if not any(_is_harmless(str(word)) for word in _flat(words)):
            outcome.started.append(f"{event} {words!r}")


def _is_harmless(word: str) -> bool:
    return Path(word).name in HARMLESS or word.startswith(OURS)


def _words(case: Case, arguments: Sequence[str] | Callable[[], Any]) -> list[str]:
    """What a user gave, as letters and digits alone: paths by the names of their files."""
    given = [] if callable(arguments) else arguments[1:]
    names = [*(case.names or [Path(word).name for word in given])]
    shown = [ascii(name) for name in names]  # control characters as they are shown
    return [bare[:LONGEST] for name in (*names, *shown) if (bare := _bare(name))]


def _bare(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "", text)


def _flat(words: Any) -> Iterator[Any]:
    if isinstance(words, list | tuple):
        for word in words:
            yield from _flat(word)
    else:
        yield words


def _outcome(place: Path, words: Sequence[str]) -> Outcome:
    printed = b"".join((place / name).read_bytes() for name in (".out", ".err"))
    said = printed.decode("utf-8", "replace")
    try:
        outcome = Outcome(**json.loads((place / ".outcome").read_text()))
    except (OSError, ValueError):
        outcome = Outcome()
    outcome.ran = any(place.rglob(CANARY))
    outcome.said = said[-3000:]
    if outcome.status in REFUSED and words:
        outcome.named = any(word in _bare(said) for word in words)
    told = PRINTED.sub("", said)
    outcome.raw = "".join(sorted({letter for letter in told if ord(letter) in CONTROLS}))
    if not outcome.escaped and "Traceback (most recent call last)" in said:
        outcome.escaped = said[said.index("Traceback (most recent call last)") :]
    return outcome


def _resident() -> float:
    return _status("VmRSS") / 1024


def _status(name: str) -> int:
    """A size of this process, in KB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)
