"""Paired differences in accuracy between models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vantage import parquet
from vantage.errors import InputError
from vantage.evaluation.naming import Data, data, data_marks, model, model_names, written
from vantage.evaluation.pass_at_k import average
from vantage.evaluation.results import RULE, Responses, Result


@dataclass(frozen=True)
class Difference:
    """The accuracy of one model minus that of another, on the questions that both answered.

    Attributes:
        benchmark: Title of the benchmark.
        model, other: Names of the models.
        questions: Number of questions.
        mean, error: Mean difference, between -1 and 1, and its standard error.
        alike: Whether both models were asked in the same way.
        files: Files of the two results.
    """

    benchmark: str
    model: str
    other: str
    questions: int
    mean: float
    error: float
    alike: bool
    files: tuple[Path | None, Path | None]

    @property
    def points(self) -> str:
        """The difference in percentage points, ± half the width of its 95 % interval."""
        points = round(100 * self.mean, 1) + 0.0  # never -0.0
        return f"{points:+.1f} ± {196 * self.error:.1f}"

    @property
    def turned(self) -> Difference:
        """The accuracy of the other model minus that of this one."""
        files = self.files[1], self.files[0]
        return replace(self, model=self.other, other=self.model, mean=-self.mean, files=files)


class _Answered(NamedTuple):
    accuracy: float
    cluster: str


_Answers = dict[tuple[str, str, str], _Answered]  # by id, question and reference


def differences(found: Sequence[Result]) -> list[Difference]:
    """Compare every pair of models on every benchmark that both answered, by its rule.

    The comparison pairs questions, so their varying difficulty does not add to the error:
    Miller 2024, https://arxiv.org/abs/2411.00640, section 4.2.

    Args:
        found: All results in a directory, from `vantage.evaluation.results.read_all`.

    Raises:
        InputError: If a file of responses was not written by an evaluation; names the file.
    """
    of_data: dict[Data, list[Result]] = defaultdict(list)
    for result in found:
        if result.scored == RULE:
            of_data[data(result)].append(result)
    models, marks = model_names(found), data_marks(found)
    made = []
    for what, asked in of_data.items():
        answered = {one.path: _answered(one.path) for one in asked}
        for other, one in combinations(asked, 2):
            both = _paired(answered[one.path], answered[other.path])
            if both is not None:
                title, alike = one.title + marks[what], one.asked == other.asked
                names, files = (models[model(one)], models[model(other)]), (one.path, other.path)
                made.append(Difference(title, names[0], names[1], *both, alike, files))
    return made


def _answered(path: Path | None) -> _Answers:
    """Return the accuracy of each question without a failed response.

    Raises:
        InputError: If the file was not written by an evaluation; names the file.
    """
    file = path.with_suffix(".parquet") if path else None
    if file is None or not file.exists():
        return {}
    rows = parquet.read(file, Responses)
    needed = [name for name in Responses.names if name != "failed"]
    if lacking := [name for name in needed if rows[name].null_count]:
        raise InputError(f"{str(file)!r}: column {lacking[0]} has missing values: move the file")
    responses = defaultdict(list)
    for row in rows.to_pylist():
        responses[row["id"], row["question"], row["reference"]].append(row)
    return {
        key: _Answered(float(np.mean([row["right"] for row in said])), said[0]["cluster"])
        for key, said in responses.items()
        if all(row["failed"] is None for row in said)
    }


def _paired(one: _Answers, other: _Answers) -> tuple[int, float, float] | None:
    """Return the number of shared questions, the mean difference and its standard error.

    None if no question is shared.
    """
    both = [key for key in one if key in other]
    if not both:
        return None
    gap_Q = np.array([one[key].accuracy - other[key].accuracy for key in both])
    mean, error = average(gap_Q, [one[key].cluster for key in both])
    return len(both), mean, error


def markdown(found: Sequence[Difference]) -> str:
    """Write differences as a Markdown table."""
    lines = ["| benchmark | model | less | questions | points |", "| --- | --- | --- | --- | --- |"]
    for one in found:
        mark = "" if one.alike else " (asked differently)"
        cells = [one.benchmark, one.model, one.other, str(one.questions), one.points + mark]
        lines.append("| " + " | ".join(map(written, cells)) + " |")
    return "\n".join(lines) + "\n"
