"""Names of table rows and columns, made unique if models or data sets share a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from vantage.evaluation.results import Result
from vantage.terminal import line


class Data(NamedTuple):
    """A set of questions: the name of its benchmark and a digest of the questions."""

    benchmark: str
    questions: str


class Named(NamedTuple):
    """A model: its name and the directory of its results."""

    name: str
    directory: str


def data(result: Result) -> Data:
    """Return the set of questions of a result."""
    return Data(result.benchmark, result.origin["questions"])


def model(result: Result) -> Named:
    """Return the model of a result."""
    return Named(result.model, result.directory)


def data_marks(results: Sequence[Result]) -> dict[Data, str]:
    """Return the suffix of each benchmark's name; empty unless it has several sets of questions."""
    found = dict.fromkeys(map(data, results))
    times = Counter(one.benchmark for one in found)
    return {one: f" [{one.questions[:6]}]" if times[one.benchmark] > 1 else "" for one in found}


def model_names(results: Sequence[Result]) -> dict[Named, str]:
    """Return the name of each model, with its directory if several models share the name."""
    found = dict.fromkeys(map(model, results))
    times = Counter(one.name for one in found)
    return {
        one: f"{one.name} [{one.directory}]" if times[one.name] > 1 else one.name for one in found
    }


def written(text: str) -> str:
    """Escape a text for a Markdown cell: one line, without tags, links or images."""
    told = line(text.replace("\n", " ")).replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", r"\<", told).replace("](", "]\\(")
