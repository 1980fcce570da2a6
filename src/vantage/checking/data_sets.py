"""Read the data sets of a check in the same way as a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from vantage.questions.faults import Fault
from vantage.questions.layouts import those_there
from vantage.questions.loading import survey
from vantage.questions.tables import names, open_rows
from vantage.training.inputs import reading_options
from vantage.training.resolved import Resolved, Source


@dataclass(frozen=True)
class DataSet:
    """The rows and faults of a data set.

    Attributes:
        name: Name in the report.
        rows: Usable rows.
        numbers: Row numbers of the usable rows in the original data.
        faults: Faults of the other rows.
        remarks: Notes about the choice of columns.
    """

    name: str
    rows: Dataset
    numbers: Sequence[int]
    faults: list[Fault]
    remarks: tuple[str, ...] = ()

    @property
    def bad(self) -> int:
        """Number of unusable rows."""
        return len({fault.row for fault in self.faults})


def read(name: str, source: Source, **options: Any) -> DataSet:
    """Read a data set.

    Args:
        name: Name in the report.
        source: Path and split.
        options: Options of `vantage.questions.loading.survey`.

    Raises:
        ConfigError, InputError: See `vantage.questions.loading.survey`.
    """
    found = survey(source.path, split=source.split, **options)
    bad = {fault.row for fault in found.faults}
    numbers: Sequence[int] = range(len(found.rows) + len(bad))
    if bad:
        numbers = [row for row in numbers if row not in bad]
    return DataSet(name, found.rows, numbers, found.faults, found.remarks)


def read_test(run: Resolved, source: Source) -> DataSet:
    """Read rows that the run itself does not use, with the run's columns where they exist.

    Raises:
        ConfigError, InputError: See `vantage.questions.loading.survey`.
    """
    options = {**reading_options(run.config), "takes": None, "layout": None}
    if run.config.data.columns.model_fields_set:
        there, _ = open_rows(source.path, source.split)
        options["columns"] = those_there(run.config.data.columns, names(there))
    return read(str(source), source, **options)
