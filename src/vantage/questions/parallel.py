"""Something done with every row, by as many processes as are worth it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from tqdm.auto import tqdm

from vantage.errors import InputError

SMALL = 500  # rows that are not worth a second process
PART = 64  # rows that a process gets at a time

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
    together = _processes()
    if together > 1:
        return _shared_out(look, rows, words, together)
    workers = min(_cores(), rows // SMALL)
    if workers < 2:
        return [look(row) for row in tqdm(range(rows), desc=words, disable=rows < 5 * SMALL)]
    parts = [range(start, min(start + PART, rows)) for start in range(0, rows, PART)]
    found: list[Found] = []
    # Forked, so that the rows are shared and nothing is read again.
    with ProcessPoolExecutor(workers, get_context("fork"), _adopt, (look,)) as pool:
        try:
            for part in tqdm(pool.map(_look_at, parts), words, len(parts), unit="part"):
                found += part
        except BrokenProcessPool as error:
            raise InputError(
                f"reading a row between {len(found)} and {len(found) + PART * (workers + 1)} "
                "ended the process that read it: leave out the broken one"
            ) from error
    return found


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what a container or a batch system grants
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processes() -> int:
    """Processes of a distributed run, all of which look at the same rows."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return 1
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _shared_out(look: Callable[[int], Found], rows: int, words: str, processes: int) -> list[Found]:
    """As `over_rows`, each process of a distributed run looking at its share."""
    distributed = sys.modules["torch"].distributed
    mine = range(distributed.get_rank(), rows, processes)
    found = [look(row) for row in tqdm(mine, desc=words, disable=bool(mine.start) or rows < SMALL)]
    shares: list[Any] = [None] * processes
    distributed.all_gather_object(shares, found)
    return [shares[row % processes][row // processes] for row in range(rows)]


_look: Callable[[int], Any]


def _adopt(look: Callable[[int], Any]) -> None:
    global _look
    _look = look


def _look_at(rows: range) -> list[Any]:
    return [_look(row) for row in rows]
