"""The chip at hand: time, memory, and the rate of its matrix units."""

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
    """Median seconds of a call, after two to warm up."""
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
    """FLOP per second of a large product of matrices in bfloat16, measured."""
    side = 256 if tiny else 8192
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, 20)


def peak_gib(function: Callable[[], object]) -> float:
    """GiB at the peak of a call: on a GPU all that is allocated, else above the start."""
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
