"""Writes the record of a run so that it is consistent even if the process is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vantage import files
from vantage.errors import ConfigError, InputError
from vantage.questions.pictures import Picture
from vantage.questions.schema import pictures
from vantage.record import tables
from vantage.record.bounds import Keep, content_digest, encoded, kept
from vantage.record.step import About, Step

FOLDER = "record"
FORMAT = 1
ENCODERS = 4
# Names that the recorder writes under `steps` and `validations`; it leaves other files alone.
OURS = re.compile(r"(?P<hidden>\.(?:gone-)?)?(?P<number>\d{8,})")


class Recorder:
    """Appends the steps of a run to `record/` in its directory.

    `append` and `validated` are atomic and durable: when they return, the data is on disk, and if
    the process dies before, the record has none of it. Only one process may write a record: the
    main process of a distributed run. An open recorder holds a lock on the directory.

        with Recorder(run, About("trl", "grpo", seed=0, updates=4)) as recorder:
            recorder.append(Step(...))       # after the last update of a rollout batch
            recorder.validated(10, {"accuracy": 0.61}, seconds=12.5)

    Args:
        run: Directory of the run.
        about: Description of the run.
        start: Completed rollout batches when a run resumes, 0 for a new run. Later batches in the
            record are removed, because the run repeats them.
        keep: Limits of the stored texts and images.

    Raises:
        ConfigError: If another process writes this record, or the directory is not writable.
    """

    def __init__(self, run: str | Path, about: About, *, start: int = 0, keep: Keep | None = None):
        self.folder, self.keep = Path(run) / FOLDER, keep or Keep()
        try:
            for name in ("steps", "validations", "pictures"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"record {str(self.folder)!r} {files.unwritable(error)}") from error
        self._encoders = ThreadPoolExecutor(ENCODERS)
        try:
            files.lock(
                self._lock,
                f"record {str(self.folder)!r} is being written by another process: wait for it, "
                "or choose another directory for this run",
                self.folder / "lock",
            )
            self._resume_at(start)
            told = {"format": FORMAT, **asdict(about)}
            files.write(self.folder / "about.json", json.dumps(told, indent=1).encode())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            self._encoders.shutdown()
            os.close(self._lock)
            self._lock = -1

    def append(self, step: Step) -> None:
        """Write a step; a step with the same number is replaced.

        Raises:
            OSError: If the disk is full or the directory is gone; earlier steps are unchanged.
        """
        kept_N = kept(step.row_N, self.keep.rollouts)
        stored = self._store_pictures(step, kept_N)
        made = {
            "batch": tables.batch_table(step),
            "rollouts": tables.rollouts_table(step, kept_N, self.keep.characters),
            "samples": tables.samples_table(step),
            "prompts": tables.prompts_table(step, kept_N, self.keep.characters, stored),
        }
        place = self.folder / "steps" / f"{step.number:08d}"
        unfinished = place.with_name(f".{place.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for name, table in made.items():
            _write_table(unfinished / f"{name}.parquet", table)
        _remove_step(place)
        unfinished.rename(place)
        files.flush(place.parent)

    def validated(self, batch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Write results on held-out questions.

        Another call for the same batch adds metrics, such as those of another set of questions.

        Args:
            batch: Rollout batches completed before the validation.
            metrics: Results by name.
            seconds: Duration of the validation.

        Raises:
            OSError: See `append`.
        """
        place = self.folder / "validations" / f"{batch:08d}.parquet"
        rows = pq.read_table(place).to_pylist() if place.is_file() else []
        rows = [row for row in rows if row["metric"] not in metrics] + [
            {"batch": batch, "metric": name, "value": float(value), "seconds": seconds}
            for name, value in metrics.items()
        ]
        unfinished = place.with_name(f".{place.name}")
        _write_table(unfinished, pa.Table.from_pylist(rows, schema=tables.VALIDATIONS))
        unfinished.rename(place)
        files.flush(place.parent)

    def _resume_at(self, start: int) -> None:
        """Remove steps from `start` on, later validations and unfinished files; keep the rest."""
        for place in sorted((self.folder / "steps").iterdir(), reverse=True):
            found = OURS.fullmatch(place.name) if place.is_dir() else None
            if found and (found["hidden"] or int(found["number"]) >= start):
                _remove_step(place)
        for place in (self.folder / "validations").glob("*.parquet"):
            found = OURS.fullmatch(place.stem) if place.is_file() else None
            if found and (found["hidden"] or int(found["number"]) > start or not start):
                place.unlink()
        for place in (self.folder / "pictures").glob(".*.webp"):
            place.unlink()

    def _store_pictures(self, step: Step, kept_N: np.ndarray) -> dict[int, list[str | None]]:
        """Store the images of kept prompts.

        Returns:
            The names of the images of each kept prompt; None for an image that cannot be read.
        """
        shown = {
            prompt: pictures(step.prompts[prompt])
            for prompt in np.unique(step.prompt_N[kept_N]).tolist()
        }
        distinct = {id(one.source): one for row in shown.values() for one in row}
        names = {key: _digest(one) for key, one in distinct.items()}
        fresh = {
            name: distinct[key]
            for key, name in names.items()
            if name and not self._picture(name).exists()
        }
        broken = {name for name in self._encoders.map(self._store, fresh, fresh.values()) if name}
        names = {key: None if name in broken else name for key, name in names.items()}
        return {prompt: [names[id(one.source)] for one in row] for prompt, row in shown.items()}

    def _store(self, name: str, picture: Picture) -> str | None:
        """Write an image; return its name if it cannot be decoded, else None."""
        try:
            files.write(self._picture(name), encoded(picture, self.keep.pixels))
        except InputError:
            return name
        return None

    def _picture(self, name: str) -> Path:
        return self.folder / "pictures" / f"{name}.webp"


def _digest(picture: Picture) -> str | None:
    try:
        return content_digest(picture)
    except InputError:
        return None  # the image file is gone


def _remove_step(place: Path) -> None:
    """Remove a step atomically: a hidden directory that is half removed is not a step."""
    if place.exists():
        gone = place.with_name(f".gone-{place.name.lstrip('.')}")
        shutil.rmtree(gone, ignore_errors=True)
        place.rename(gone)
        shutil.rmtree(gone)


def _write_table(place: Path, table: pa.Table) -> None:
    # Without checksums, a flipped bit could be read as another number.
    pq.write_table(table, place, compression="zstd", write_page_checksum=True)
    files.flush(place)
