"""Integrity of checkpoints: each is marked after it is written, and verified before it is loaded.

The mark is a file that lists every file of the checkpoint with its size and digest. The digest is
SHA-256 over the SHA-256 digests of its blocks, so that threads can hash blocks in parallel.
Marking reads all files once more, which takes less time than writing them.
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
# Substrings of the errors that torch and safetensors raise when a write fails.
DISK = ("inline_container.cc", "PytorchStreamWriter", "No space left", "I/O error", "os error")
# Extensions of files that an engine would load even if the run did not write them.
LOADED = (".safetensors", ".bin", ".pt", ".pth", ".pkl", ".json", ".distcp")


def mark_complete(checkpoint: Path) -> None:
    """Flush all files to disk, then write the list of files that marks the checkpoint."""
    paths = sorted(checkpoint.rglob("*"))
    for path in [*paths, checkpoint]:
        files.flush(path)
    held = {str(path.relative_to(checkpoint)): path for path in paths if path.is_file()}
    found = digests(held.values())
    listed = {name: [path.stat().st_size, found[path]] for name, path in held.items()}
    files.write(checkpoint / MARK, json.dumps({"files": listed}, indent=0).encode())
    files.flush(checkpoint)


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Compute the block-wise SHA-256 digest of each file, in hexadecimal; see the module."""
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
    """Describe the damage of a checkpoint; None if it is complete.

    Foreign files count as damage only if an engine would load them.
    """
    mark = checkpoint / MARK
    if not mark.is_file():
        return f"it was not completely written: its list of files, {MARK!r}, is missing"
    try:
        listed = _listed(mark)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return f"its list of files, {MARK!r}, cannot be read: {error}"
    try:
        return _difference(checkpoint, listed)
    except OSError as error:
        return f"it cannot be read: {error}"


def _listed(mark: Path) -> Mapping[str, tuple[int, str] | None]:
    """File name -> size and digest; None for marks of earlier versions, which list only names."""
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
    """Whether all files were written and are unchanged."""
    return damage_of(checkpoint) is None


def last_complete(run: Path, *, between_batches: bool = False) -> Path | None:
    """Find the newest complete checkpoint of a run, or None.

    Logs the damage of newer checkpoints, except of those that were never finished.

    Args:
        run: Directory of the run.
        between_batches: Whether to skip checkpoints that were saved inside a rollout batch.
    """
    for checkpoint in reversed(numbered(run)):
        damage = damage_of(checkpoint)
        if damage is None and not (between_batches and stops_inside(checkpoint)):
            return checkpoint
        if damage and marked(checkpoint):
            logger.warning(f"{checkpoint} is damaged and skipped: {damage}")
    return None


def numbered(run: Path, name: re.Pattern[str] = NAME) -> list[Path]:
    """All checkpoint directories of a run, complete or not, oldest first."""
    there = run.iterdir() if run.is_dir() else ()
    found = {
        int(named[1]): path
        for path in there
        if path.is_dir() and (named := name.fullmatch(path.name))
    }
    return [found[step] for step in sorted(found)]


def check_none_lost(run: Path) -> None:
    """Check that a run without a complete checkpoint has no damaged ones either.

    To restart the run from the beginning would overwrite what the user may still restore.

    Raises:
        InputError: There are damaged checkpoints; describes the damage of each.
    """
    damaged = [path for path in numbered(run) if marked(path)]
    if damaged:
        told = "; ".join(f"{path.name}: {damage_of(path)}" for path in damaged)
        raise InputError(
            f"{str(run)!r} has no complete checkpoint to resume from: {told}. Restore one from a "
            "backup, or start a new run in another directory"
        )


@contextlib.contextmanager
def written(checkpoint: Path) -> Iterator[None]:
    """Remove the checkpoint if writing it fails.

    Raises:
        EngineError: Writing failed; names the checkpoint and the one to resume from.
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
    """Convert write errors of any library into an EngineError.

    Raises:
        EngineError: Writing failed; names the path and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, EngineError) or not _of_disk(error):
            raise
        why = error if isinstance(error, OSError) else _as_of_disk(error)
        raise EngineError(f"{str(place)!r} {files.unwritable(why)}") from error


def _as_of_disk(error: Exception) -> OSError:
    """Recover the errno from a message; without one, as in torch, assume that the disk is full."""
    said = re.search(r"os error (\d+)", str(error))
    number = int(said[1]) if said else errno.ENOSPC
    return OSError(number, os.strerror(number))


def _of_disk(error: Exception) -> bool:
    """Whether an error comes from writing files, by its type or its message."""
    told = str(error)
    return isinstance(error, OSError) or any(words in told for words in DISK)


def marked(checkpoint: Path) -> bool:
    """Whether the checkpoint was completely written; it may have been damaged since."""
    return (checkpoint / MARK).is_file()


def remove_old(
    newest: Path, keep: int | None, best: str | None = None, name: re.Pattern[str] = NAME
) -> None:
    """Remove old checkpoints, but keep the last ones and the best one.

    Ignores checkpoints of later steps, which exist if the run resumed from an earlier one.

    Args:
        newest: The checkpoint that was just marked.
        keep: Number of checkpoints to keep; None for all.
        best: Path of a checkpoint to keep in any case, or None.
        name: Names of the engine's checkpoints.
    """
    if not keep:
        return
    saved = numbered(newest.parent, name)
    before = saved[: saved.index(newest)]
    stays = {Path(best).name} if best else set()
    others = [path for path in before if path.name not in stays]
    room = max(keep - 1 - len(stays & {path.name for path in before}), 0)
    for path in others[: len(others) - room]:
        shutil.rmtree(path, ignore_errors=True)


def stops_inside(checkpoint: Path) -> bool:
    """Whether a checkpoint was saved inside a rollout batch, so that training cannot resume."""
    return bool(_read(checkpoint, SAMPLING).get("inside"))


def updates_of(checkpoint: Path) -> int:
    """Number of optimizer updates made before the checkpoint."""
    return int(_read(checkpoint, STATE, "global_step")["global_step"])


def save_sampling(checkpoint: Path, state: Mapping[str, Any], *, inside: bool = False) -> None:
    """Save the state of the question sampler.

    Args:
        checkpoint: Directory of the checkpoint.
        state: State from `vantage.training.session.Session.state_dict`.
        inside: Whether the run stopped inside a rollout batch.
    """
    text = json.dumps({**state, "inside": inside}, default=lambda value: value.tolist())  # of NumPy
    (checkpoint / SAMPLING).write_text(text, encoding="utf-8")


def load_sampling(checkpoint: Path) -> dict[str, Any]:
    """Load the state of the session from a checkpoint.

    Raises:
        InputError: The state is missing or cannot be read.
    """
    return _read(checkpoint, SAMPLING, "questions", "state")


def check_rows(run: Path, questions: Dataset) -> None:
    """Check that a run resumes with the rows it started with; every checkpoint identifies them.

    Raises:
        InputError: The rows differ; names the columns.
    """
    for checkpoint in reversed(numbered(run)):
        with contextlib.suppress(InputError):  # skip damaged checkpoints
            before = _read(checkpoint, SAMPLING, "rows")["rows"]
            break
    else:
        return
    _refuse_others(f"--resume: {checkpoint.name}", before, identity(questions))


def check_same_rows(
    where: str, saved: Mapping[str, Any], questions: int, rows: Mapping[str, str]
) -> None:
    """Check that a run resumes with the data it started with.

    Args:
        where: Name of the checkpoint, for the error message.
        saved: The checkpoint's `questions` and `rows`; earlier versions did not save `rows`.
        questions: Current number of questions.
        rows: Digests of the current data, from `vantage.training.identity.identity`.

    Raises:
        InputError: The data differ; names how.
    """
    if saved["questions"] != questions:
        raise InputError(
            f"{where}: the run had {saved['questions']} questions, now there are {questions}: "
            "resume with the same data"
        )
    _refuse_others(where, saved.get("rows"), rows)


def _refuse_others(where: str, before: Mapping[str, str] | None, rows: Mapping[str, str]) -> None:
    other = difference(before, rows) if before else None
    if other:
        raise InputError(
            f"{where}: the data changed since the run started: {other}; resume with the same "
            "data, or start a new run in another directory"
        )


def _read(checkpoint: Path, name: str, *needed: str) -> dict[str, Any]:
    """Read a JSON object from a file of a checkpoint; it must have all keys in `needed`."""
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
