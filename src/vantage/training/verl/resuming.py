"""Checkpoints of a run on veRL: marked once whole, and found again."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from vantage import files
from vantage.errors import ConfigError
from vantage.training import checkpoints
from vantage.training.directory import TRACKER

logger = logging.getLogger(__name__)

STEP = re.compile(r"global_step_(\d+)")


def checkpoint_at(run: Path, step: int) -> Path:
    """Where veRL saves a step."""
    return run / f"global_step_{step}"


def mark_saved(checkpoint: Path, keep: int | None) -> None:
    """Mark a checkpoint as whole, and remove old ones.

    veRL forgets in a resumed run what an earlier process saved.

    Args:
        checkpoint: just saved.
        keep: how many stay; None or 0 for all.
    """
    checkpoints.mark_complete(checkpoint)
    checkpoints.remove_old(checkpoint, keep, name=STEP)


def whole_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, None where it has none yet.

    Raises:
        ConfigError: it had one that is gone or damaged, with no whole one before it: veRL would
            begin anew.
    """
    if not (run / TRACKER).is_file():
        return None
    step = (run / TRACKER).read_text(errors="replace").strip()
    place = run / f"global_step_{step}"
    fault = _fault_of(place)
    if fault is None:
        return place
    for older in reversed(checkpoints.numbered(run, STEP)):
        if older != place and checkpoints.is_complete(older):
            logger.warning(f"{place} is passed over for {older.name}: {fault}")
            return older
    there = sorted(path.name for path in run.glob("global_step_*"))
    raise ConfigError(
        f"--resume: {TRACKER} in {str(run)!r} names step {step}, but {place.name} {fault}; found: "
        f"{', '.join(there) or 'no checkpoint'}. Restore it, or write the number of a complete "
        f"one into {TRACKER}"
    )


def _fault_of(place: Path) -> str | None:
    missing = [name for name in ("actor", "data.pt") if not (place / name).exists()]
    if missing:
        return f"has no {' and no '.join(missing)}"
    # veRL names a checkpoint once it is whole, so one without our mark is.
    damage = checkpoints.damage_of(place) if checkpoints.marked(place) else None
    return damage and f"is damaged: {damage}"


def take_whole(run: Path) -> None:
    """Make veRL take the newest complete checkpoint: it reads the number in a file."""
    whole = whole_checkpoint(run)
    if whole is not None:
        step = whole.name.rpartition("_")[2]
        files.write(run / TRACKER, step.encode())
