"""Something done with every row, by as many processes as are worth it."""

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

SMALL = 500  # rows that are not worth a second process
PART = 64  # rows that a process gets at a time, where there are few
LARGEST = 512  # and where there are many
MOST_PARTS = 1_000  # until parts grow

Found = TypeVar("Found")


def over_rows(look: Callable[[int], Found], rows: int, words: str) -> list[Found]:
    """What `look` finds in each row, by as many processes as are worth it.

    Args:
        look: number of a row -> anything small; everything it needs is inherited.
        rows: how many there are.
        words: of the progress bar.

    Raises:
        InputError: a process died, as a decoder on broken bytes can; names the rows.
    """
    parts = over_parts(lambda part: [look(row) for row in part], rows, words)
    return [found for part in parts for found in part]


def over_parts(look: Callable[[range], Found], rows: int, words: str) -> list[Found]:
    """What `look` finds in each part of the rows, part by part, as `over_rows`.

    Args:
        look: numbers of rows that follow each other -> anything small.
        rows: how many there are.
        words: of the progress bar.
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
    # Forked, so that the rows are shared and nothing is read again.
    with ProcessPoolExecutor(workers, get_context("fork"), _adopt, (look,)) as pool:
        try:
            for part in tqdm(pool.map(_look_at, parts), words, len(parts), unit="part"):
                found.append(part)
        except BrokenProcessPool as error:
            first = parts[len(found)].start
            last = min(first + len(parts[0]) * (workers + 1), rows)
            raise InputError(
                f"reading a row between {first} and {last} "
                "ended the process that read it: leave out the broken one"
            ) from error
    return found


def _parts(rows: int, together: int) -> list[range]:
    """Rows that follow each other; the more there are, the larger are their parts."""
    size = min(max(PART, rows // MOST_PARTS), LARGEST, -(-rows // together) or 1)
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what a container or a batch system grants
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shared_out(
    look: Callable[[range], Found], parts: list[range], words: str, together: int
) -> list[Found]:
    """As `over_parts`, each process of a distributed run looking at its share."""
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
