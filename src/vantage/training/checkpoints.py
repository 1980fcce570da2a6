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
STATE = "trainer_state.json"
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


def last_complete(run: Path, *, between_batches: bool = False) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none.

    Args:
        run: directory of the run.
        between_batches: leave out those at which a run stopped inside a rollout batch.
    """
    steps = {
        int(found[1]): path
        for path in run.glob("checkpoint-*")
        if (found := NAME.fullmatch(path.name)) and is_complete(path)
        if not (between_batches and stops_inside(path))
    }
    return steps[max(steps)] if steps else None


def stops_inside(checkpoint: Path) -> bool:
    """Whether some updates of a rollout batch were still to come: training cannot go on there."""
    return bool(_read(checkpoint, SAMPLING).get("inside"))


def updates_of(checkpoint: Path) -> int:
    """Updates that were made."""
    return int(_read(checkpoint, STATE, "global_step")["global_step"])


def save_sampling(
    checkpoint: Path, state: dict[str, Any], questions: int, *, inside: bool = False
) -> None:
    """Write down which of so many questions come next, and whether inside a rollout batch."""
    saved = {"questions": questions, "state": state, "inside": inside}
    text = json.dumps(saved, default=lambda value: value.tolist())  # of NumPy
    (checkpoint / SAMPLING).write_text(text, encoding="utf-8")


def load_sampling(checkpoint: Path, questions: int) -> dict[str, Any]:
    """Which questions come next.

    Raises:
        InputError: the checkpoint does not say, or speaks of another number of questions.
    """
    saved = _read(checkpoint, SAMPLING, "questions", "state")
    if saved["questions"] != questions:
        raise InputError(
            f"resume_from_checkpoint={str(checkpoint)!r}: the run had {saved['questions']} "
            f"questions, now there are {questions}: give it the same data"
        )
    return saved["state"]


def _read(checkpoint: Path, name: str, *needed: str) -> dict[str, Any]:
    """What a file of a checkpoint says, some names among it."""
    try:
        said = dict(json.loads((checkpoint / name).read_text(encoding="utf-8")))
        missing = [wanted for wanted in needed if wanted not in said]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        return said
    except (OSError, TypeError, ValueError) as error:
        raise InputError(
            f"resume_from_checkpoint={str(checkpoint)!r}: {name} cannot be read: {error}"
        ) from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
