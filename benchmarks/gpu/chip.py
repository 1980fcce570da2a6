"""Time, memory and matrix rate of the current device."""

from __future__ import annotations

import functools
import resource
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
GIB = 2**30


def synchronize() -> None:
    """Wait for the GPU."""
    if CUDA:
        torch.cuda.synchronize()


def seconds_of(function: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after two warm-up calls."""
    found = []
    for _ in range(2 + repeats):
        synchronize()
        began = time.perf_counter()
        function()
        synchronize()
        found.append(time.perf_counter() - began)
    return statistics.median(found[2:])


@functools.cache
def matrix_rate(tiny: bool) -> float:
    """Measured FLOP per second of a large bfloat16 matrix product."""
    side = 256 if tiny else 8192
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, 20)


def peak_gib(function: Callable[[], object]) -> float:
    """Peak memory of a call in GiB: on a GPU all allocated memory, on a CPU above the start."""
    if CUDA:
        synchronize()
        torch.cuda.reset_peak_memory_stats()
        function()
        synchronize()
        return torch.cuda.max_memory_allocated() / GIB
    before = _resident()
    seen, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(_resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return (max(seen) - before) / GIB


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
