"""Checkpoints that are whole: a directory counts only once it is marked as complete."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from vantage.errors import InputError

MARK = "complete"
SAMPLING = "sampling.json"
NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(checkpoint: Path) -> None:
    """List what is in the directory, after making sure that all of it reached the disk."""
    paths = sorted(checkpoint.rglob("*"))
    for path in [*paths, checkpoint]:
        _flush(path)
    mark = checkpoint / MARK
    mark.write_text("\n".join(str(path.relative_to(checkpoint)) for path in paths))
    _flush(mark)
    _flush(checkpoint)


def is_complete(checkpoint: Path) -> bool:
    """Whether everything was written, and nothing was removed since."""
    mark = checkpoint / MARK
    return mark.is_file() and all((checkpoint / n).exists() for n in mark.read_text().splitlines())


def last_complete(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none."""
    steps = {
        int(found[1]): path
        for path in run.glob("checkpoint-*")
        if (found := NAME.fullmatch(path.name)) and is_complete(path)
    }
    return steps[max(steps)] if steps else None


def save_sampling(checkpoint: Path, state: dict[str, Any], questions: int) -> None:
    """Write down which of so many questions come next."""
    saved = {"questions": questions, "state": state}
    text = json.dumps(saved, default=lambda value: value.tolist())  # of NumPy
    (checkpoint / SAMPLING).write_text(text, encoding="utf-8")


def load_sampling(checkpoint: Path, questions: int) -> dict[str, Any]:
    """Which questions come next.

    Raises:
        InputError: the checkpoint does not say, or speaks of another number of questions.
    """
    try:
        saved = json.loads((checkpoint / SAMPLING).read_text(encoding="utf-8"))
        if saved["questions"] != questions:
            raise InputError(
                f"resume_from_checkpoint={str(checkpoint)!r}: the run had {saved['questions']} "
                f"questions, now there are {questions}: give it the same data"
            )
        return saved["state"]
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(
            f"resume_from_checkpoint={str(checkpoint)!r}: {SAMPLING} cannot be read: {error}"
        ) from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
