"""Checkpoints that are whole: marked as written, and unchanged since.

The mark lists every file with its size and a digest of its content: SHA-256 over the SHA-256 of
blocks, which threads read in parallel. This reads all files once more, which takes less time than
writing them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from datasets import Dataset
from safetensors import SafetensorError

from vantage import files
from vantage.errors import EngineError, InputError, some_names
from vantage.training.identity import difference, identity

logger = logging.getLogger(__name__)

MARK = "complete"
SAMPLING = "sampling.json"
STATE = "trainer_state.json"
NAME = re.compile(r"checkpoint-(\d+)")
BLOCK = 16 * 2**20  # bytes
READERS = min(8, os.cpu_count() or 1)
# What torch and safetensors say where a file cannot be written.
DISK = ("inline_container.cc", "PytorchStreamWriter", "No space left", "I/O error", "os error")
# Files that an engine could load although the run did not write them.
LOADED = (".safetensors", ".bin", ".pt", ".pth", ".pkl", ".json", ".distcp")


def mark_complete(checkpoint: Path) -> None:
    """Write the list of all files in the directory, after flushing them to the disk."""
    paths = sorted(checkpoint.rglob("*"))
    for path in [*paths, checkpoint]:
        files.flush(path)
    held = {str(path.relative_to(checkpoint)): path for path in paths if path.is_file()}
    found = digests(held.values())
    listed = {name: [path.stat().st_size, found[path]] for name, path in held.items()}
    files.write(checkpoint / MARK, json.dumps({"files": listed}, indent=0).encode())
    files.flush(checkpoint)


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 digest of the content of each file, in hexadecimal; see above."""
    sizes = {path: path.stat().st_size for path in paths}
    blocks = [(path, start) for path, size in sizes.items() for start in range(0, size, BLOCK)]
    found = {path: hashlib.sha256() for path in sizes}
    with ThreadPoolExecutor(READERS) as readers:
        for (path, _), digest in zip(blocks, readers.map(_digest, blocks), strict=True):
            found[path].update(digest)
    return {path: made.hexdigest() for path, made in found.items()}


def _digest(block: tuple[Path, int]) -> bytes:
    path, start = block
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(BLOCK)).digest()


def damage_of(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole.

    Files that the run did not write count only if an engine could load them.
    """
    mark = checkpoint / MARK
    if not mark.is_file():
        return f"it was not written to its end: its list of files, {MARK!r}, is missing"
    try:
        listed = _listed(mark)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return f"its list of files, {MARK!r}, cannot be read: {error}"
    try:
        return _difference(checkpoint, listed)
    except OSError as error:
        return f"it cannot be read: {error}"


def _listed(mark: Path) -> Mapping[str, tuple[int, str] | None]:
    """Size and digest by the name of a file; None where an earlier version kept none."""
    text = mark.read_text(encoding="utf-8")
    if text.startswith("{"):
        found = json.loads(text)["files"]
        return {str(name): (int(size), str(digest)) for name, (size, digest) in found.items()}
    if not text.strip() or "\0" in text:
        raise ValueError("it is empty")
    return dict.fromkeys(text.splitlines())


def _difference(checkpoint: Path, listed: Mapping[str, tuple[int, str] | None]) -> str | None:
    gone = [name for name in listed if not (checkpoint / name).exists()]
    if gone:
        return f"{some_names(gone)} missing"
    known = {checkpoint / name: told for name, told in listed.items() if told}
    for path, (size, _) in known.items():
        if path.stat().st_size != size:
            return f"{path.name} has {path.stat().st_size:,} bytes, expected {size:,}"
    if known:
        foreign = sorted(
            str(path.relative_to(checkpoint))
            for path in checkpoint.rglob("*")
            if path.suffix in LOADED and not path.name.startswith(".") and path not in known
        )
        if foreign:
            return f"the run did not write {some_names(foreign)}"
    found = digests(known)
    changed = [path.name for path, (_, digest) in known.items() if found[path] != digest]
    return f"the content of {some_names(changed)} changed since it was written" if changed else None


def is_complete(checkpoint: Path) -> bool:
    """Whether everything was written, and nothing changed since."""
    return damage_of(checkpoint) is None


def last_complete(run: Path, *, between_batches: bool = False) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none.

    What is wrong with newer ones is logged, unless they were never finished.

    Args:
        run: directory of the run.
        between_batches: leave out those at which a run stopped inside a rollout batch.
    """
    for checkpoint in reversed(numbered(run)):
        damage = damage_of(checkpoint)
        if damage is None and not (between_batches and stops_inside(checkpoint)):
            return checkpoint
        if damage and marked(checkpoint):
            logger.warning(f"{checkpoint} is damaged and skipped: {damage}")
    return None


def numbered(run: Path, name: re.Pattern[str] = NAME) -> list[Path]:
    """Checkpoints of a run, whole or not, the oldest first."""
    there = run.iterdir() if run.is_dir() else ()
    found = {
        int(named[1]): path
        for path in there
        if path.is_dir() and (named := name.fullmatch(path.name))
    }
    return [found[step] for step in sorted(found)]


def check_none_lost(run: Path) -> None:
    """Refuse to restart a run that had checkpoints of which none is whole.

    Raises:
        InputError: names what is wrong with each.
    """
    damaged = [path for path in numbered(run) if marked(path)]
    if damaged:
        told = "; ".join(f"{path.name}: {damage_of(path)}" for path in damaged)
        raise InputError(
            f"{str(run)!r} has no whole checkpoint to resume from: {told}. Restore one from a "
            "copy, or start anew in another directory"
        )


@contextlib.contextmanager
def written(checkpoint: Path) -> Iterator[None]:
    """Remove a checkpoint that cannot be written, and say which one to resume from.

    Raises:
        EngineError: names the checkpoint and the last whole one.
    """
    try:
        with writing(checkpoint):
            yield
    except EngineError as error:
        shutil.rmtree(checkpoint, ignore_errors=True)
        last = next((path for path in reversed(numbered(checkpoint.parent)) if marked(path)), None)
        kept = f"resume from {last.name} with --resume" if last else "there is no earlier one"
        raise EngineError(f"{error}; {kept}") from error


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn errors of the disk, as libraries raise them, into an error that names the place.

    Raises:
        EngineError: names the place and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, EngineError) or not _of_disk(error):
            raise
        why = error if isinstance(error, OSError) else _as_of_disk(error)
        raise EngineError(f"{str(place)!r} {files.unwritable(why)}") from error


def _as_of_disk(error: Exception) -> OSError:
    """The error number that a library names; torch names none, so the disk is taken to be full."""
    said = re.search(r"os error (\d+)", str(error))
    number = int(said[1]) if said else errno.ENOSPC
    return OSError(number, os.strerror(number))


def _of_disk(error: Exception) -> bool:
    """Whether an error is one of writing files, by its type or its words."""
    told = str(error)
    return isinstance(error, OSError) or any(words in told for words in DISK)


def marked(checkpoint: Path) -> bool:
    """Whether it was written to its end, whatever became of it since."""
    return (checkpoint / MARK).is_file()


def remove_old(newest: Path, keep: int | None, best: str | None) -> None:
    """Remove checkpoints before the newest one, except for the last ones and the best one.

    Later steps, which remain if a run was resumed from an earlier checkpoint, are not counted.

    Args:
        newest: it was just marked.
        keep: how many stay; None for all.
        best: checkpoint that stays.
    """
    if not keep:
        return
    names = [path.name for path in numbered(newest.parent)]
    before = numbered(newest.parent)[: names.index(newest.name)]
    stays = {Path(best).name} if best else set()
    others = [path for path in before if path.name not in stays]
    room = max(keep - 1 - len(stays & {path.name for path in before}), 0)
    for path in others[: len(others) - room]:
        shutil.rmtree(path, ignore_errors=True)


def stops_inside(checkpoint: Path) -> bool:
    """Whether a checkpoint lies inside a rollout batch, so that training cannot resume from it."""
    return bool(_read(checkpoint, SAMPLING).get("inside"))


def updates_of(checkpoint: Path) -> int:
    """Updates that were made."""
    return int(_read(checkpoint, STATE, "global_step")["global_step"])


def save_sampling(checkpoint: Path, state: Mapping[str, Any], *, inside: bool = False) -> None:
    """Save which questions come next.

    Args:
        checkpoint: where to.
        state: of the session, see `vantage.training.session.Session.state_dict`.
        inside: whether the run stopped inside a rollout batch.
    """
    text = json.dumps({**state, "inside": inside}, default=lambda value: value.tolist())  # of NumPy
    (checkpoint / SAMPLING).write_text(text, encoding="utf-8")


def load_sampling(checkpoint: Path) -> dict[str, Any]:
    """The state of the session in a checkpoint.

    Raises:
        InputError: the checkpoint does not say.
    """
    return _read(checkpoint, SAMPLING, "questions", "state")


def check_rows(run: Path, questions: Dataset) -> None:
    """Refuse to resume a run with other rows than it began with; all checkpoints have the same.

    Raises:
        InputError: names what differs.
    """
    for checkpoint in reversed(numbered(run)):
        with contextlib.suppress(InputError):  # a damaged one is passed over
            before = _read(checkpoint, SAMPLING, "rows")["rows"]
            break
    else:
        return
    _refuse_others(f"--resume: {checkpoint.name}", before, identity(questions))


def check_same_rows(
    where: str, saved: Mapping[str, Any], questions: int, rows: Mapping[str, str]
) -> None:
    """Refuse to resume with other data than a run began with.

    Args:
        where: the checkpoint, for the message.
        saved: `questions` and `rows` of it; checkpoints of earlier versions have no `rows`.
        questions: number of questions that are drawn from now.
        rows: digests of the data now, see `vantage.training.identity.identity`.

    Raises:
        InputError: names what differs.
    """
    if saved["questions"] != questions:
        raise InputError(
            f"{where}: the run had {saved['questions']} questions, now there are {questions}: "
            "give it the same data"
        )
    _refuse_others(where, saved.get("rows"), rows)


def _refuse_others(where: str, before: Mapping[str, str] | None, rows: Mapping[str, str]) -> None:
    other = difference(before, rows) if before else None
    if other:
        raise InputError(
            f"{where}: the data are not those that the run began with: {other}: give it the same "
            "data, or start a new run in another directory"
        )


def _read(checkpoint: Path, name: str, *needed: str) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint, which has all names in `needed`."""
    try:
        said = dict(json.loads((checkpoint / name).read_text(encoding="utf-8")))
        missing = [wanted for wanted in needed if wanted not in said]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        return said
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"resume_from_checkpoint={str(checkpoint)!r}: {name} cannot be read: {error}"
        ) from error
