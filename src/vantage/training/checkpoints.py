"""Checkpoints that are whole: a directory counts only once it is marked as complete."""

from __future__ import annotations

import os
import re
from pathlib import Path

MARK = "complete"
NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(checkpoint: Path) -> None:
    """Say that everything in the directory is written, and make sure it reached the disk."""
    for path in [*checkpoint.rglob("*"), checkpoint]:
        _flush(path)
    mark = checkpoint / MARK
    mark.write_text("Everything in this checkpoint was written.\n")
    _flush(mark)
    _flush(checkpoint)


def last_complete(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none."""
    steps = {
        int(found[1]): path
        for path in run.glob("checkpoint-*")
        if (found := NAME.fullmatch(path.name)) and (path / MARK).is_file()
    }
    return steps[max(steps)] if steps else None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
