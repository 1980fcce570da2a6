"""By how much two models differ, question by question."""

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
    """The accuracy of one model less that of another, on the questions that both answered.

    Attributes:
        benchmark: its title.
        model, other: their names.
        questions: how many.
        mean, error: of the difference, between -1 and 1, and its standard error.
        alike: whether both were asked in the same way.
        files: of the two results.
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
        """In percentage points, with half of the 95 % interval."""
        points = round(100 * self.mean, 1) + 0.0  # never -0.0
        return f"{points:+.1f} ± {196 * self.error:.1f}"

    @property
    def turned(self) -> Difference:
        """The accuracy of the other model less that of this one."""
        files = self.files[1], self.files[0]
        return replace(self, model=self.other, other=self.model, mean=-self.mean, files=files)


class _Answered(NamedTuple):
    accuracy: float
    cluster: str


def differences(found: Sequence[Result]) -> list[Difference]:
    """Every pair of models on every benchmark that both were asked, by the benchmark's rule.

    Questions are paired, so that what they differ in difficulty does not count: Miller 2024,
    https://arxiv.org/abs/2411.00640, section 4.2.

    Args:
        found: all results in a directory, as `vantage.evaluation.results.read_all` gives them.
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


def _answered(path: Path | None) -> dict[tuple[str, str, str], _Answered]:
    """Accuracy of each question without a failed response, by id, question and reference.

    Raises:
        InputError: a file of something else; names it.
    """
    file = path.with_suffix(".parquet") if path else None
    if file is None or not file.exists():
        return {}
    rows = parquet.read(file, Responses)
    needed = [name for name in Responses.names if name != "failed"]
    if lacking := [name for name in needed if rows[name].null_count]:
        raise InputError(f"{str(file)!r}: column {lacking[0]} lacks values: move it away")
    responses = defaultdict(list)
    for row in rows.to_pylist():
        responses[row["id"], row["question"], row["reference"]].append(row)
    return {
        key: _Answered(float(np.mean([row["right"] for row in said])), said[0]["cluster"])
        for key, said in responses.items()
        if all(row["failed"] is None for row in said)
    }


def _paired(
    one: dict[tuple[str, str, str], _Answered], other: dict[tuple[str, str, str], _Answered]
) -> tuple[int, float, float] | None:
    """Questions of both, with the mean of their differences and its error; None without any."""
    both = [key for key in one if key in other]
    if not both:
        return None
    gap_Q = np.array([one[key].accuracy - other[key].accuracy for key in both])
    mean, error = average(gap_Q, [one[key].cluster for key in both])
    return len(both), mean, error


def markdown(found: Sequence[Difference]) -> str:
    """A table of them."""
    lines = ["| benchmark | model | less | questions | points |", "| --- | --- | --- | --- | --- |"]
    for one in found:
        mark = "" if one.alike else " (asked differently)"
        cells = [one.benchmark, one.model, one.other, str(one.questions), one.points + mark]
        lines.append("| " + " | ".join(map(written, cells)) + " |")
    return "\n".join(lines) + "\n"
