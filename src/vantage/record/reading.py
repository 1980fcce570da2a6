"""Reads the record of a run, also while the run continues.

Every file is checked as it is read (`vantage.parquet`, `vantage.record.checks`): a record that is
damaged or foreign is refused with the name of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from vantage import files, parquet
from vantage.errors import InputError
from vantage.methods.rollouts import Rollouts, Samples
from vantage.record import checks, tables
from vantage.record.step import About
from vantage.record.writing import FOLDER, FORMAT

LARGEST_ABOUT = 2**20  # bytes
LARGEST_PICTURE = 2**26  # bytes
PICTURE = re.compile(r"[0-9a-f]{1,64}")
SCHEMAS = {
    "batch": tables.BATCH,
    "rollouts": tables.rollouts_schema([]),
    "samples": tables.SAMPLES,
    "prompts": tables.PROMPTS,
    "validations": tables.VALIDATIONS,
}


class Record:
    """The record of a run, up to the last step that was finished when it is opened.

    Args:
        run: the run's directory.

    Attributes:
        run: the same.
        about: what the run is.
        steps: numbers of the recorded rollout batches, ascending.
        foreign: other files among them, which are ignored.

    Raises:
        InputError: there is no record, or one of another version.
    """

    def __init__(self, run: str | Path):
        self.run = Path(files.home(str(run)))
        self.folder = self.run / FOLDER
        self.about = self._about()
        there = sorted((self.folder / "steps").glob("[!.]*"))
        there += sorted((self.folder / "validations").glob("[!.]*"))
        self.foreign = [place for place in there if _number(place) is None]
        self._validations = [p for p in there if p.suffix and p not in self.foreign]
        self.steps = [int(p.name) for p in there if not p.suffix and p not in self.foreign]

    def __len__(self) -> int:
        return len(self.steps)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table over all steps, in their order.

        Args:
            name: one of "batch", "rollouts", "samples", "prompts".
            columns: those to read; None for all.

        Raises:
            InputError: a file that cannot be read; names it.
        """
        parts = [self.step(step, name, columns) for step in self.steps]
        if parts:
            return pa.concat_tables(parts, promote_options="permissive")
        schema = tables.rollouts_schema(["reward"]) if name == "rollouts" else SCHEMAS[name]
        made = schema.empty_table()
        return made.select(columns) if columns else made

    def step(self, step: int, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table of one step; see `table`."""
        return self._read(self._place(step, name), name, columns, step)

    def whole(self, step: int, texts: bool = True) -> dict[str, pa.Table]:
        """Prompts, rollouts and samples of one step, which fit together.

        Args:
            step: its number.
            texts: whether texts and pictures are read too.

        Raises:
            InputError: they do not, or a file cannot be read; names it.
        """
        numbers = {
            "prompts": ["prompt", "row"],
            "rollouts": ["row", "question", "prompt", "reward", "trained"],
        }
        found = {
            name: self.step(step, name, None if texts else numbers.get(name))
            for name in ("prompts", "rollouts", "samples")
        }
        why = checks.unrelated(**found)
        if why is not None:
            raise self._unreadable(self._place(step, "samples").parent, why)
        return found

    def check_plans(self, rollouts: pa.Table, samples: pa.Table) -> None:
        """Refuse tables over all steps where samples of a step are missing or doubled.

        Args:
            rollouts: batch, trained.
            samples: batch, padding.

        Raises:
            InputError: names the step.
        """
        step = checks.incomplete(rollouts, samples)
        if step is not None:
            place = self._place(step, "samples")
            raise self._unreadable(place, f"{str(place)!r}: samples are missing or doubled")

    def validations(self) -> pa.Table:
        """Results on held-out questions: batch (rollout batches done), metric, value, seconds."""
        parts = [
            self._read(place, "validations", None, _number(place)) for place in self._validations
        ]
        return pa.concat_tables([tables.VALIDATIONS.empty_table(), *parts])

    def numbers(self, column: str) -> dict[str, np.ndarray]:
        """`seconds` or `metrics` of all steps, name -> a value a step, NaN where there is none."""
        rows = [dict(row) for row in self.table("batch", [column])[column].to_pylist()]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}

    def planned(self, step: int) -> tuple[Rollouts | None, Samples, np.ndarray]:
        """What the plan of a step saw and made.

        Returns:
            The scored rollouts, None where there was none; the plan, its rows pointing into
            them; and the update that trained each sample.

        Raises:
            InputError: as `whole`.
        """
        found = self.whole(step, texts=False)
        columns = ["question", "prompt", "reward"]
        question_N, prompt_N, reward_N = (found["rollouts"][name].to_numpy() for name in columns)
        made = found["samples"]
        column = {name: made[name].to_numpy() for name in made.column_names}
        samples = Samples(**{f.name: column[f.name.removesuffix("_M")] for f in fields(Samples)})
        scored = np.flatnonzero(~np.isnan(reward_N))
        if not len(scored):
            return None, samples, column["update"]
        rollouts = Rollouts(question_N[scored], prompt_N[scored], reward_N[scored])
        among = np.searchsorted(scored, samples.rollout_M)
        samples = samples.take(np.arange(len(samples)), rollout_M=among)
        return rollouts, samples, column["update"]

    def done(self, step: int) -> float:
        """Share of the training that was done when the step began; 0 in records without it."""
        return self.step(step, "batch", ["done"])["done"][0].as_py()

    def picture(self, name: str) -> bytes | None:
        """A stored picture by the name that `prompts` gives it, as WebP; None if it is gone."""
        place = self.folder / "pictures" / f"{name}.webp"
        try:
            there = PICTURE.fullmatch(name) and place.is_file()
            return place.read_bytes() if there and _size(place) <= LARGEST_PICTURE else None
        except OSError:
            return None

    def _place(self, step: int, name: str) -> Path:
        return self.folder / "steps" / f"{step:08d}" / f"{name}.parquet"

    def _about(self) -> About:
        place = self.folder / "about.json"
        try:
            if place.exists() and not (place.is_file() and _size(place) <= LARGEST_ABOUT):
                raise ValueError("it is not a file of a record")
            told = json.loads(place.read_text(encoding="utf-8"))
            json.dumps(told, ensure_ascii=False, allow_nan=False).encode()  # as it is shown
            if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
                raise ValueError("it was written by another version of vantage")
            return checks.about(told)
        except FileNotFoundError:
            why = "no training wrote one there"
        except (OSError, ValueError, TypeError, RecursionError) as error:
            why = f"{place.name} cannot be read: {error}"
        raise InputError(f"{str(self.run)!r} has no record: {why}")

    def _read(
        self, place: Path, name: str, columns: Sequence[str] | None, step: int | None
    ) -> pa.Table:
        """Columns of a table, checked with those that show whether rows are missing."""
        schema = SCHEMAS[name]
        asked = schema.names if columns is None else columns
        try:
            wanted = [*asked, *checks.besides(name, asked)]
            found = parquet.read(place, schema, wanted, absent={"done": 0.0})
            why = checks.wrong(name, found, step)
        except InputError as error:
            raise self._unreadable(place, str(error)) from error
        if why is not None:
            raise self._unreadable(place, f"{str(place)!r}: {why}")
        return found.select(asked)

    def _unreadable(self, place: Path, why: str) -> InputError:
        batch = place.parent if place.parent.parent == self.folder / "steps" else place
        return InputError(
            f"record {str(self.run)!r} is damaged, or no record: {why}; "
            f"move {str(batch)!r} away to go on without it"
        )


def _number(place: Path) -> int | None:
    """The number in the name of a step or a validation; None for any other file."""
    name = place.stem if place.suffix == ".parquet" and place.parent.name != "steps" else place.name
    known = name.isascii() and name.isdecimal() and name == f"{int(name[:20]):08d}"
    is_step = place.parent.name == "steps"
    return int(name) if known and (not is_step or place.is_dir()) else None


def _size(place: Path) -> int:
    return place.stat().st_size
