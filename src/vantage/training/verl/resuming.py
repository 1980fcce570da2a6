"""Checkpoints of a run on veRL: marks complete ones, and finds the one to resume from."""

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
    """Directory in which veRL saves the checkpoint of a step."""
    return run / f"global_step_{step}"


def mark_saved(checkpoint: Path, keep: int | None) -> None:
    """Mark a checkpoint as complete, and remove old ones.

    veRL itself does not remove checkpoints that were saved before the run was resumed.

    Args:
        checkpoint: The checkpoint that was just saved.
        keep: Number of checkpoints to keep; None or 0 for all.
    """
    checkpoints.mark_complete(checkpoint)
    checkpoints.remove_old(checkpoint, keep, name=STEP)


def whole_checkpoint(run: Path) -> Path | None:
    """Find the newest complete checkpoint of a run; None if no checkpoint was saved yet.

    Raises:
        ConfigError: Checkpoints were saved, but all are missing or damaged. veRL would start from
            the beginning.
    """
    if not (run / TRACKER).is_file():
        return None
    step = (run / TRACKER).read_text(errors="replace").strip()
    newest = run / f"global_step_{step}"
    damage = _damage_of(newest)
    if damage is None:
        return newest
    for older in reversed(checkpoints.numbered(run, STEP)):
        if older != newest and checkpoints.is_complete(older):
            logger.warning(f"{newest} {damage}; resuming from {older.name}")
            return older
    existing = sorted(path.name for path in run.glob("global_step_*"))
    raise ConfigError(
        f"--resume: {TRACKER} in {str(run)!r} names step {step}, but {newest.name} {damage}; found "
        f"{', '.join(existing) or 'no checkpoint'}. Restore {newest.name} from a backup, or write "
        f"the step of a complete checkpoint to {TRACKER}"
    )


def _damage_of(checkpoint: Path) -> str | None:
    """Describe what is wrong with a checkpoint; None if it is complete."""
    missing = [name for name in ("actor", "data.pt") if not (checkpoint / name).exists()]
    if missing:
        return f"has no {' and no '.join(missing)}"
    # veRL's file names only complete checkpoints, so one without our mark is complete too.
    damage = checkpoints.damage_of(checkpoint) if checkpoints.marked(checkpoint) else None
    return damage and f"is damaged: {damage}"


def take_whole(run: Path) -> None:
    """Make veRL resume from the newest complete checkpoint, by the file that names its step."""
    whole = whole_checkpoint(run)
    if whole is not None:
        step = whole.name.rpartition("_")[2]
        files.write(run / TRACKER, step.encode())
