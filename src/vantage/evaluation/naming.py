"""What rows and columns are called where two models or data sets have one name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from vantage.evaluation.results import Result
from vantage.terminal import line


class Data(NamedTuple):
    """Questions: the name of their benchmark and a digest of them."""

    benchmark: str
    questions: str


class Named(NamedTuple):
    """A model: its name and the directory of its results."""

    name: str
    directory: str


def data(result: Result) -> Data:
    """The questions of a result."""
    return Data(result.benchmark, result.origin["questions"])


def model(result: Result) -> Named:
    """The model of a result."""
    return Named(result.model, result.directory)


def data_marks(results: Sequence[Result]) -> dict[Data, str]:
    """What is put behind the name of a benchmark: nothing where it is one set of questions."""
    found = dict.fromkeys(map(data, results))
    times = Counter(one.benchmark for one in found)
    return {one: f" [{one.questions[:6]}]" if times[one.benchmark] > 1 else "" for one in found}


def model_names(results: Sequence[Result]) -> dict[Named, str]:
    """What a model is called: its name, with its directory where others have that name too."""
    found = dict.fromkeys(map(model, results))
    times = Counter(one.name for one in found)
    return {
        one: f"{one.name} [{one.directory}]" if times[one.name] > 1 else one.name for one in found
    }


def written(text: str) -> str:
    """A text in a cell of Markdown: on one line, without tags, links or pictures."""
    told = line(text.replace("\n", " ")).replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", r"\<", told).replace("](", "]\\(")
