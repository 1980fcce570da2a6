"""Reads the record of a run, even while the run continues.

Every file is checked when it is read (`vantage.parquet`, `vantage.record.checks`). The error about
a damaged file names the file.
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
    """The record of a run, with the steps that are complete when it is opened.

    Args:
        run: Directory of the run.

    Attributes:
        run: Directory of the run.
        about: Description of the run.
        steps: Numbers of the recorded rollout batches, ascending.
        foreign: Files that the recorder did not write; they are ignored.

    Raises:
        InputError: If there is no record, or one of another version.
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
        """Read a table of all steps, in order.

        Args:
            name: One of "batch", "rollouts", "samples", "prompts".
            columns: Columns to read; None for all.

        Raises:
            InputError: If a file cannot be read; names the file.
        """
        parts = [self.step(step, name, columns) for step in self.steps]
        if parts:
            return pa.concat_tables(parts, promote_options="permissive")
        schema = tables.rollouts_schema(["reward"]) if name == "rollouts" else SCHEMAS[name]
        made = schema.empty_table()
        return made.select(columns) if columns else made

    def step(self, step: int, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table of one step; see `table`."""
        return self._read(self._place(step, name), name, columns, step)

    def whole(self, step: int, texts: bool = True) -> dict[str, pa.Table]:
        """Read the prompts, rollouts and samples of one step, and check that they are consistent.

        Args:
            step: Number of the step.
            texts: Whether to read all columns, including texts and image names.

        Raises:
            InputError: If the tables contradict each other or a file cannot be read; names it.
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
        """Check that no samples of any step are missing or duplicated.

        Args:
            rollouts: Table of all steps with the columns batch and trained.
            samples: Table of all steps with the columns batch and padding.

        Raises:
            InputError: If samples are missing or duplicated; names the step.
        """
        step = checks.incomplete(rollouts, samples)
        if step is not None:
            place = self._place(step, "samples")
            raise self._unreadable(place, f"{str(place)!r}: samples are missing or duplicated")

    def validations(self) -> pa.Table:
        """Read the results on held-out questions, as a table with schema `tables.VALIDATIONS`."""
        parts = [
            self._read(place, "validations", None, _number(place)) for place in self._validations
        ]
        return pa.concat_tables([tables.VALIDATIONS.empty_table(), *parts])

    def numbers(self, column: str) -> dict[str, np.ndarray]:
        """Read `seconds` or `metrics` as arrays by name, one value per step; NaN if missing."""
        rows = [dict(row) for row in self.table("batch", [column])[column].to_pylist()]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}

    def planned(self, step: int) -> tuple[Rollouts | None, Samples, np.ndarray]:
        """Read the input and the output of a step's plan.

        Returns:
            The scored rollouts, or None if there are none; the plan, whose `rollout_M` indexes
            them; and the number of the update of each sample.

        Raises:
            InputError: See `whole`.
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
        among = np.searchsorted(scored, samples.rollout_M)  # index among the scored rollouts
        samples = samples.take(np.arange(len(samples)), rollout_M=among)
        return rollouts, samples, column["update"]

    def done(self, step: int) -> float:
        """Read the completed share of the training at the start of a step; 0 if not recorded."""
        return self.step(step, "batch", ["done"])["done"][0].as_py()

    def picture(self, name: str) -> bytes | None:
        """Read the WebP file of an image by its name in `prompts`; None if it is gone."""
        place = self.folder / "pictures" / f"{name}.webp"
        try:
            there = PICTURE.fullmatch(name) and place.is_file()
            return place.read_bytes() if there and place.stat().st_size <= LARGEST_PICTURE else None
        except OSError:
            return None

    def _place(self, step: int, name: str) -> Path:
        return self.folder / "steps" / f"{step:08d}" / f"{name}.parquet"

    def _about(self) -> About:
        place = self.folder / "about.json"
        try:
            if place.exists() and not (place.is_file() and place.stat().st_size <= LARGEST_ABOUT):
                raise ValueError("it is not a file or is too large")
            told = json.loads(place.read_text(encoding="utf-8"))
            json.dumps(told, ensure_ascii=False, allow_nan=False).encode()  # reject NaN
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
        """Read columns of a table and check them, with the columns that reveal missing rows."""
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
            f"record {str(self.run)!r} is damaged or not a record: {why}; "
            f"move {str(batch)!r} away to continue without it"
        )


def _number(place: Path) -> int | None:
    """Return the number in the name of a step or validation; None for any other file."""
    name = place.stem if place.suffix == ".parquet" and place.parent.name != "steps" else place.name
    known = name.isascii() and name.isdecimal() and name == f"{int(name[:20]):08d}"
    is_step = place.parent.name == "steps"
    return int(name) if known and (not is_step or place.is_dir()) else None
