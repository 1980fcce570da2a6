"""The directory of a run: its lock, its contents, and checks before a run starts or resumes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vantage import config as configuration
from vantage import files, plugins
from vantage.config import Config, own_code
from vantage.errors import ConfigError, InputError
from vantage.training.checkpoints import numbered

logger = logging.getLogger(__name__)

CONFIG = "config.yaml"
ENGINE_OPTIONS = "engine.yaml"
LOCK = "lock"
CHECKPOINT = re.compile(r"(?:checkpoint-|global_step_)(\d+)")
TRACKER = "latest_checkpointed_iteration.txt"  # written by veRL
RECORD = Path("record")
# Options that may change on resume, since they do not affect what the run computes.
FREE = ("run", "verl", "batch.micro_batch", "judge")


def locked(config: Config) -> files.Lock:
    """Lock the directory of a run for this process.

    Raises:
        ConfigError: Another process holds the lock, or the directory cannot be written.
    """
    run = Path(config.run.output)
    lock = files.Lock(
        run / LOCK,
        f"run.output: another process trains in {config.run.output!r}: wait for it, or choose "
        "another directory",
        "run.output",
    )
    try:
        probe = run / f".{LOCK}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        lock.release()
        raise ConfigError(f"run.output: {str(run)!r} {files.unwritable(error)}") from error
    return lock


def save(config: Config, engine_options: str) -> None:
    """Save in the run's directory its configuration and all options that its engine receives.

    Args:
        config: The configuration.
        engine_options: The options, as YAML; nothing reads them from the directory.
    """
    run = Path(config.run.output)
    configuration.save(config, run / CONFIG)
    files.write(run / ENGINE_OPTIONS, engine_options.encode())


def check_output(config: Config, *, resume: bool) -> None:
    """Check that a run can start or resume in its directory without overwriting another run.

    A run that ended before its first checkpoint resumes from the beginning.

    Args:
        config: Configuration of the run.
        resume: Whether to resume the run in the directory.

    Raises:
        ConfigError: The directory is a file or cannot be written; without `resume`, it contains
            an earlier run; with `resume`, it is not the directory of a run, or an option that
            affects what the run computes has changed.
        InputError: The checkpoints of the run are missing.
    """
    run = Path(config.run.output)
    files.check_writable(run, "run.output", folder=True)
    if resume:
        _check_resumed(config, run)
        return
    found = remains(run)
    if found:
        raise ConfigError(
            f"run.output: {config.run.output!r} has {found} of an earlier run: continue it "
            "with --resume, or choose another directory"
        )


def _check_resumed(config: Config, run: Path) -> None:
    if is_empty(run):
        logger.warning(f"--resume: {str(run)!r} has no run yet; starting a new one")
        return
    if not (run / CONFIG).is_file():
        found = remains(run)
        raise ConfigError(
            f"--resume: {str(run)!r} has {found}, but its {CONFIG} is missing, so it is unknown "
            "whether it is the same run: restore it, or choose another directory"
            if found
            else f"--resume: {str(run)!r} is not the directory of a run: it has no {CONFIG}; "
            "choose the directory of the run, or an empty one"
        )
    _check_same(configuration.saved(run / CONFIG), config)
    _check_not_lost(config, run)


def _check_not_lost(config: Config, run: Path) -> None:
    """Check that the checkpoints were not removed; restarting would overwrite the run."""
    if newest(run) is not None:
        return
    own = {"save_strategy", "save_steps"} & set(config.trl)
    batches = len(_steps(run))
    if _has_model(run) or (batches > config.run.save_every and not own):
        what = "a trained model" if _has_model(run) else f"a record of {batches} rollout batches"
        raise InputError(
            f"--resume: {str(run)!r} has {what} but no checkpoint: restore the newest "
            "one, or choose another directory"
        )


def is_empty(run: Path) -> bool:
    """Whether a directory is missing, or contains only a lock and hidden files."""
    if not run.is_dir():
        return True
    return all(path.name == LOCK or path.name.startswith(".") for path in run.iterdir())


def newest(run: Path) -> str | None:
    """Name of the checkpoint of the latest step, complete or not, of either engine."""
    found = numbered(run, CHECKPOINT)
    return found[-1].name if found else None


def remains(run: Path) -> str | None:
    """Name what a directory contains that a new run must not overwrite; None for nothing.

    The configuration and the record of a run that finished no rollout batch do not count.
    """
    if (run / TRACKER).exists() or newest(run):
        return "checkpoints"
    if _has_model(run):
        return "a trained model"
    if _steps(run) or any((run / RECORD / "validations").glob("[0-9]*.parquet")):
        return "a record"
    if (run / CONFIG).exists() and not (run / RECORD / "about.json").exists():
        return f"a {CONFIG}"
    return None


def _has_model(run: Path) -> bool:
    return (run / "model").is_dir() and any((run / "model").iterdir())


def _steps(run: Path) -> list[Path]:
    return [
        path
        for path in (run / RECORD / "steps").glob("[0-9]*")
        if path.is_dir() and any(path.iterdir())
    ]


def _check_same(before: Config, now: Config) -> None:
    moved = {old: new for old in own_code(before) for new in own_code(now) if _moved(old, new)}
    old = _options(
        configuration.renamed(configuration.as_values(before), lambda n: moved.get(n, n))
    )
    new = _options(configuration.as_values(now))
    changed = [
        f"{name} from {old.get(name)!r} to {new.get(name)!r}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    if changed:
        told = ", ".join(changed)
        raise ConfigError(
            f"--resume continues the same run, but this changed: {told}; restore it (for a renamed "
            "file, a link at its old path is enough), or start a new run in another run.output"
        )


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**_leaves(values), "run.seed": values["run"]["seed"]}


def _moved(old: str, new: str) -> bool:
    """Whether a file of the user's code was moved: the name is equal, and the old file is gone."""
    return plugins.short(old) == plugins.short(new) and not Path(plugins.file_of(old)).exists()


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten options to dotted names, without those in `FREE`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        whole = f"{prefix}{name}"
        if whole in FREE:
            continue
        if isinstance(value, dict) and value:
            found |= _leaves(value, f"{whole}.")
        else:
            found[whole] = value
    return found
