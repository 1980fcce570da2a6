"""Reading what a run left behind, also while it goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vantage.errors import InputError
from vantage.methods.rollouts import Rollouts, Samples
from vantage.record import tables
from vantage.record.step import About
from vantage.record.writing import FOLDER, FORMAT


class Record:
    """The record of a run, up to the last step that was finished when it is opened.

    Args:
        run: the run's directory.

    Attributes:
        run: the same.
        about: what the run is.
        steps: numbers of the recorded rollout batches, ascending.

    Raises:
        InputError: no record there, or one of a later format.
    """

    def __init__(self, run: str | Path):
        self.run, self.folder = Path(run), Path(run) / FOLDER
        self.about = self._about()
        self.steps = sorted(
            int(place.name) for place in (self.folder / "steps").glob("[0-9]*") if place.is_dir()
        )

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
        empty = {"batch": tables.BATCH, "samples": tables.SAMPLES, "prompts": tables.PROMPTS}
        made = empty.get(name, tables.rollouts_schema(["reward"])).empty_table()
        return made.select(columns) if columns else made

    def step(self, step: int, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table of one step; see `table`."""
        place = self.folder / "steps" / f"{step:08d}" / f"{name}.parquet"
        return self._read(place, columns)

    def validations(self) -> pa.Table:
        """Results on held-out questions: batch (rollout batches done), metric, value, seconds."""
        places = sorted((self.folder / "validations").glob("[0-9]*.parquet"))
        parts = [self._read(place, None) for place in places]
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
        """
        columns = ["place", "prompt", "reward"]
        seen = self.step(step, "rollouts", columns)
        place_N, prompt_N, reward_N = (seen[name].to_numpy() for name in columns)
        made = self.step(step, "samples")
        column = {name: made[name].to_numpy() for name in made.column_names}
        samples = Samples(**{f.name: column[f.name.removesuffix("_M")] for f in fields(Samples)})
        scored = np.flatnonzero(~np.isnan(reward_N))
        if not len(scored):
            return None, samples, column["update"]
        rollouts = Rollouts(place_N[scored], prompt_N[scored], reward_N[scored])
        among = np.searchsorted(scored, samples.rollout_M)
        samples = samples.take(np.arange(len(samples)), rollout_M=among)
        return rollouts, samples, column["update"]

    def done(self, step: int) -> float:
        """Share of the training that was done when the step began; 0 in records without it."""
        told = self.step(step, "batch", ["done"])
        return told["done"][0].as_py() if told.num_columns else 0.0

    def picture(self, name: str) -> bytes | None:
        """A stored picture by the name that `prompts` gives it, as WebP; None if it is gone."""
        place = self.folder / "pictures" / f"{name}.webp"
        return place.read_bytes() if place.is_file() else None

    def _about(self) -> About:
        place = self.folder / "about.json"
        try:
            told = json.loads(place.read_text(encoding="utf-8"))
            if told.pop("format") == FORMAT:
                return About(**told)
            why = "it was written by another version of vantage"
        except FileNotFoundError:
            why = "no training wrote one there"
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{place.name} cannot be read: {error}"
        raise InputError(f"{str(self.run)!r} has no record: {why}")

    def _read(self, place: Path, columns: Sequence[str] | None) -> pa.Table:
        try:
            with pq.ParquetFile(place) as file:
                return file.read(columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"record {str(place)!r} cannot be read: {error}") from error
