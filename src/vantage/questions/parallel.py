"""Process all rows of a data set in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from tqdm.auto import tqdm

from vantage import processes
from vantage.errors import InputError
from vantage.terminal import line

SMALL = 500  # rows per worker, below which another process is not worth its start
PART = 64  # minimum rows per part
LARGEST = 512  # maximum rows per part
MOST_PARTS = 1_000  # parts grow from the minimum to keep their number near this

Found = TypeVar("Found")


def over_rows(look: Callable[[int], Found], rows: int, words: str) -> list[Found]:
    """Call `look` on every row and return the results in order.

    Args:
        look: Maps a row number to a small result. Worker processes inherit its data.
        rows: Number of rows.
        words: Label of the progress bar.

    Raises:
        InputError: A worker process died, for example in a decoder on invalid bytes. Names the
            range of rows.
    """
    parts = over_parts(lambda part: [look(row) for row in part], rows, words)
    return [found for part in parts for found in part]


def over_parts(look: Callable[[range], Found], rows: int, words: str) -> list[Found]:
    """Call `look` on ranges of consecutive rows; see `over_rows`.

    Args:
        look: Maps a range of row numbers to a small result.
        rows: Number of rows.
        words: Label of the progress bar.
    """
    together, words = processes.count(), line(words)
    parts = _parts(rows, together)
    if together > 1:
        return _shared_out(look, parts, words, together)
    workers = min(_cores(), rows // SMALL)
    if workers < 2:
        few = rows < 5 * SMALL
        return [look(part) for part in tqdm(parts, words, unit="part", disable=few)]
    found: list[Found] = []
    # Forked workers share the memory of the rows, so nothing is copied or read again.
    with ProcessPoolExecutor(workers, get_context("fork"), _adopt, (look,)) as pool:
        try:
            for part in tqdm(pool.map(_look_at, parts), words, len(parts), unit="part"):
                found.append(part)
        except BrokenProcessPool as error:
            first = parts[len(found)].start
            last = min(first + len(parts[0]) * (workers + 1), rows)
            raise InputError(
                f"reading a row between {first} and {last} "
                "crashed the worker process: remove the damaged row"
            ) from error
    return found


def _parts(rows: int, together: int) -> list[range]:
    """Split row numbers into ranges, which grow with the number of rows."""
    size = min(max(PART, rows // MOST_PARTS), LARGEST, -(-rows // together) or 1)
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # respects the limits of containers and schedulers
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shared_out(
    look: Callable[[range], Found], parts: list[range], words: str, together: int
) -> list[Found]:
    """As `over_parts`; each process of a distributed run handles its share of the parts."""
    rank = processes.rank()
    quiet = bool(rank) or sum(map(len, parts)) < SMALL
    shares = processes.gathered(
        [look(part) for part in tqdm(parts[rank::together], words, disable=quiet)]
    )
    return [shares[n % together][n // together] for n in range(len(parts))]


_look: Callable[[range], Any]


def _adopt(look: Callable[[range], Any]) -> None:
    global _look
    _look = look


def _look_at(part: range) -> Any:
    return _look(part)
