"""Files of an evaluation: every response in parquet, every measure in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from pydantic import ConfigDict, Field, Strict, TypeAdapter

from vantage import files
from vantage.chat.journal import digest
from vantage.errors import ConfigError, InputError
from vantage.evaluation.benchmarks import BENCHMARKS, Benchmark
from vantage.evaluation.items import Item
from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.sampling import Response
from vantage.evaluation.scoring import Score

RULE = "rule"
MODEL = ("model", "weights", "server")  # keys of `origin` that identify a model
LARGEST = 2**24  # largest file of results, in bytes
LONGEST_NAME = 100  # characters; file systems limit names to 255 bytes

Text = Annotated[str, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, lt=2**53)]
Responses = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "question", "reference", "cluster", "failed")),
        ("right", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Result:
    """The measures of a model on a benchmark.

    Attributes:
        model, benchmark, title: Names of the model and the benchmark, title of the benchmark.
        judge: The judge's model, server, temperature and wording; empty for the benchmark's rule.
        questions, samples: Number of questions, and of responses to each.
        cut, failed: Number of truncated responses, and of missing responses or verdicts.
        left_out: Questions without all responses or verdicts, which no measure counts.
        origin: The model (model, weights, server), the source of the questions (data) and their
            digest (questions).
        asked: Template, system prompt, pixels, temperature, maximum length and seed.
        shown: Names of the measures in tables.
        measures: Measures by name.
        path: The file that the result was read from.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # for `_read`

    model: Text
    benchmark: Text
    title: Text
    judge: dict[Text, Any]
    questions: Count
    samples: Count
    cut: Count
    failed: Count
    left_out: Count
    origin: dict[Text, Text]
    asked: dict[Text, Any]
    shown: tuple[Text, ...]
    measures: dict[Text, Estimate]
    path: Path | None = field(default=None, compare=False)

    @property
    def scored(self) -> str:
        """How answers are scored: by the rule or by a judge."""
        return "judge {model} at {server}".format(**self.judge) if self.judge else RULE

    @property
    def directory(self) -> str:
        """Name of the model's directory among those of other models."""
        return self.path.parent.name if self.path else ""


def label(name: str) -> str:
    """Convert the name of a model or benchmark to a valid file name."""
    bare = re.sub(r"[^\w.+-]+", "-", name.strip("/.").replace("/", "-"))
    bare = bare.strip("-.") or "unnamed"
    return bare if len(bare) <= LONGEST_NAME else f"{bare[:LONGEST_NAME]}-{digest(name)[:8]}"


def stem(file: str, judge: dict[str, Any]) -> str:
    """Return the name of a benchmark's files without suffix; each judge has separate files."""
    if not judge:
        return file
    return f"{file}.judge-{label(str(judge['model']))}-{digest(judge)[:8]}"


def write_responses(
    path: Path,
    benchmark: Benchmark,
    items: Sequence[Item],
    responses_QN: Sequence[Sequence[Response]],
    scores_QN: Sequence[Sequence[Score]],
    judged_QN: np.ndarray | None,
) -> None:
    """Write a parquet file with a row for each response, atomically.

    `judged_QN` is NaN for a missing verdict, and None without a judge.
    """
    divisions = list(dict.fromkeys(name for item in items for name in item.parts))
    rows = [
        {
            "benchmark": benchmark.name,
            "id": item.id,
            "cluster": str(item.cluster),
            "sample": sample,
            "question": item.question.text,
            "reference": item.reference,
            "response": files.encodable(response.text),
            "tokens": response.tokens,
            "failed": response.failed,
            "answer": None if told.answer is None else files.encodable(told.answer),
            "right": bool(told.right),
            **({} if judged_QN is None else {"judged": _verdict(judged_QN[place, sample])}),
            **{name: item.parts.get(name) for name in divisions},
        }
        for place, item in enumerate(items)
        for sample, (response, told) in enumerate(
            zip(responses_QN[place], scores_QN[place], strict=True)
        )
    ]
    kinds = {"sample": pa.int32(), "tokens": pa.int32(), "right": pa.bool_(), "judged": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in rows[0]])
    with files.whole(path) as unfinished:
        parquet.write_table(pa.Table.from_pylist(rows, schema), unfinished)


def _verdict(value: float) -> bool | None:
    return None if np.isnan(value) else bool(value)


def check_same(folder: Path, name: str, new: Result, marks: Sequence[str]) -> None:
    """Check that new results do not overwrite other or larger results.

    Args:
        folder: Directory of the model.
        name: Name of the new files in it, from `stem`.
        new: The new result; its measures are ignored.
        marks: A digest of each question.

    Raises:
        ConfigError: If the directory has results of another model, server or data, of another
            way of asking, or of more questions or samples.
        InputError: If a file is not the result of an evaluation.
    """
    for path in sorted(folder.glob("[!.]*.json")):
        old = _read(path)
        _check_alike(path, _identity(old), _identity(new))
        if old.benchmark == new.benchmark or path.stem == name:
            before, now = {"benchmark": old.benchmark}, {"benchmark": new.benchmark}
            _check_alike(path, before | old.asked, now | new.asked)
            if path.stem == name:
                _check_more(path, old, new)
            # A larger evaluation may replace a smaller one if it starts with the same questions.
            shared = digest(list(marks[: old.questions]))
            if new.questions >= old.questions and shared != old.origin["questions"]:
                before, now = {"data": _data(old)}, {"data": _data(new)}
                _check_alike(path, before, now)


def _identity(result: Result) -> dict[str, Any]:
    return {"name": result.model, **{one: result.origin.get(one) for one in MODEL}}


def _data(result: Result) -> str:
    """Describe the source of questions and their digest."""
    return f"{result.origin['data']} [{result.origin['questions'][:6]}]"


def _check_alike(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for what in {**before, **now}:
        if before.get(what) != now.get(what):
            raise ConfigError(
                f"{path} has results with another {what}: {_told(before.get(what))}, now "
                f"{_told(now.get(what))}; choose another --name or --output, or move them away"
            )


def _check_more(path: Path, old: Result, new: Result) -> None:
    for what, option in (("questions", "--limit"), ("samples", "--samples")):
        before, now = getattr(old, what), getattr(new, what)
        if now < before:
            raise ConfigError(
                f"{path} has results with {before} {what}, which {now} would replace: set "
                f"{option} {before} or more, choose another --name or --output, or move them away"
            )


def _told(value: Any) -> str:
    return "none" if value is None else repr(value)[:200]


def write(path: Path, result: Result) -> None:
    """Write a result as JSON, atomically."""
    value = asdict(result)
    del value["path"]
    value["measures"] = {name: one._asdict() for name, one in result.measures.items()}
    files.write(path, (json.dumps(value, indent=2) + "\n").encode())


def read_all(folder: Path) -> list[Result]:
    """Read the results of all models in a directory, benchmarks in the order of `BENCHMARKS`.

    Raises:
        InputError: If a file is not the result of an evaluation; names the file.
    """
    found = [_read(path) for path in sorted(folder.glob("*/[!.]*.json"))]
    place_of = {name: place for place, name in enumerate(BENCHMARKS)}
    return sorted(found, key=lambda one: place_of.get(one.benchmark, len(place_of)))


def _read(path: Path) -> Result:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError("it is not a file or is too large")
        values = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()  # reject lone surrogates
        result = TypeAdapter(Result).validate_python(values)
        _check(result)
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path} is not a result of this version of vantage: move it away and rerun the "
            f"command that wrote it: {why}"
        ) from error
    return replace(result, path=path)


def _check(result: Result) -> None:
    """Check what types do not express.

    Raises:
        ValueError: If a measure is out of range, or a key is missing.
    """
    for name, one in result.measures.items():
        if not (0 <= one.mean <= 1 and 0 <= one.error <= 1):
            raise ValueError(f"{name} is {one.mean:g} ± {one.error:g}, expected 0 to 1")
    for name in ("model", "data", "questions"):
        if name not in result.origin:
            raise ValueError(f"origin: {name} is missing")
    for name in ("model", "server") if result.judge else ():
        if not isinstance(result.judge.get(name), str):
            raise ValueError(f"judge: {name} must be a string")
