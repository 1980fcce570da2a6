"""What an evaluation leaves behind: every response in parquet, every measure in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from pydantic import ConfigDict, Field, Strict, TypeAdapter

from vantage.errors import ConfigError, InputError
from vantage.evaluation.benchmarks import BENCHMARKS, Benchmark
from vantage.evaluation.items import Item
from vantage.evaluation.passk import Estimate
from vantage.evaluation.responses import Response
from vantage.evaluation.scoring import Score

RULE, JUDGE = "rule", "judge"
LARGEST = 2**24  # bytes of a file of results

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
        model, benchmark, title: their names.
        scored: "rule", or "judge" with the model that judged.
        questions, samples: how many, and responses to each.
        cut, failed: responses that reached the longest length, and that there are none of.
        left_out: questions that no measure counts, since a response to them failed.
        origin: what was asked and where the questions came from: model, weights, server, data.
        asked: how: template, system prompt, pixels, temperature, longest response, seed.
        shown: measures that stand in tables.
        measures: by name.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # as they are read

    model: Text
    benchmark: Text
    title: Text
    scored: Text
    questions: Count
    samples: Count
    cut: Count
    failed: Count
    left_out: Count
    origin: dict[Text, Text]
    asked: dict[Text, Any]
    shown: tuple[Text, ...]
    measures: dict[Text, Estimate]


def label(name: str) -> str:
    """A name for a model or a benchmark that can be one of a file."""
    bare = re.sub(r"[^\w.+-]+", "-", name.strip("/.").replace("/", "-"))
    return bare.strip("-.") or "unnamed"


def write_responses(
    path: Path,
    benchmark: Benchmark,
    items: Sequence[Item],
    responses_QN: Sequence[Sequence[Response]],
    scores_QN: Sequence[Sequence[Score]],
    judged_QN: np.ndarray | None,
) -> None:
    """A row a response, as parquet, in one step."""
    divisions = list(dict.fromkeys(name for item in items for name in item.parts))
    rows = [
        {
            "benchmark": benchmark.name,
            "id": item.id,
            "cluster": str(item.cluster),
            "sample": sample,
            "question": item.question.text,
            "reference": item.reference,
            "response": _writable(response.text),
            "tokens": response.tokens,
            "failed": response.failed,
            "answer": None if told.answer is None else _writable(told.answer),
            "right": bool(told.right),
            "judged": None if judged_QN is None else bool(judged_QN[place, sample]),
            **{name: item.parts.get(name) for name in divisions},
        }
        for place, item in enumerate(items)
        for sample, (response, told) in enumerate(
            zip(responses_QN[place], scores_QN[place], strict=True)
        )
    ]
    kinds = {"sample": pa.int32(), "tokens": pa.int32(), "right": pa.bool_(), "judged": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in rows[0]])
    partial = path.with_name(f".{path.name}.partial")
    parquet.write_table(pa.Table.from_pylist(rows, schema), partial)
    partial.replace(path)


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def check_same(path: Path, model: str, origin: dict[str, str], asked: dict[str, Any]) -> None:
    """Refuse to put results where those of something else are.

    Args:
        path: of the results to be, as `write` takes it.
        model: its name.
        origin, asked: as of `Result`.

    Raises:
        ConfigError: there are results of another model, server or data, or of the same asked in
            another way.
        InputError: a file that is no result of an evaluation.
    """
    if not path.is_file():
        return
    now = {"name": model, **origin, **asked}
    for result in _read(path):
        before = {"name": result.model, **result.origin, **result.asked}
        for what in {**before, **now}:
            if before.get(what) != now.get(what):
                raise ConfigError(
                    f"{path} has results with another {what}: {_told(before.get(what))}, now "
                    f"{_told(now.get(what))}; give another --name or --output, or move them away"
                )


def _told(value: Any) -> str:
    return "none" if value is None else repr(value)[:80]


def write(path: Path, results: Sequence[Result]) -> None:
    """Results as JSON, in one step."""
    values = [asdict(result) for result in results]
    for value, result in zip(values, results, strict=True):
        value["measures"] = {name: one._asdict() for name, one in result.measures.items()}
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def read_all(folder: Path) -> list[Result]:
    """The results of all models in a directory, benchmarks in their usual order.

    Raises:
        InputError: a file that is no result of an evaluation; names it.
    """
    found = [one for path in sorted(folder.glob("*/*.json")) for one in _read(path)]
    order = list(BENCHMARKS)
    last = len(order)
    return sorted(
        found, key=lambda one: order.index(one.benchmark) if one.benchmark in order else last
    )


def _read(path: Path) -> list[Result]:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError("it is no file of an evaluation")
        values = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()  # no half surrogates
        found = TypeAdapter(list[Result]).validate_python(values)
        for result in found:
            for name, one in result.measures.items():
                if not (0 <= one.mean <= 1 and 0 <= one.error <= 1):
                    raise ValueError(f"{name} is {one.mean:g} ± {one.error:g}, not within 0 and 1")
        return found
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: no result of an evaluation: move it away: {why}") from error
