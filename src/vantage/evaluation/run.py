"""Evaluation: exams in, responses, scores and tables out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vantage import config as configuration
from vantage.chat.journal import Journal
from vantage.config import INSTRUCTION
from vantage.errors import ConfigError, InputError
from vantage.evaluation import results, table
from vantage.evaluation.exams import Exam
from vantage.evaluation.items import Item
from vantage.evaluation.passk import Estimate
from vantage.evaluation.responses import Local, Model, Remote, Response, Sampling
from vantage.evaluation.results import Result
from vantage.evaluation.scoring import Judge, Score, score
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import put
from vantage.questions.schema import Question
from vantage.questions.templates import filled

if TYPE_CHECKING:
    from vantage.chat.server import Settings


@dataclass(frozen=True)
class Framing:
    """How questions are put, as in training.

    Attributes:
        template: text around every question, `{question}` standing for it, and the name of any
            other column for what a row has there.
        system_prompt: put before every conversation.
        bounds: pixels of a picture; others are scaled.
    """

    template: str = INSTRUCTION
    system_prompt: str | None = None
    bounds: Bounds = Bounds()

    def __post_init__(self):
        if "{question}" not in self.template:
            raise ConfigError(f"template={self.template!r} has no {{question}} in it")

    def __call__(self, question: Question, row: Mapping[str, Any] | None = None) -> Question:
        """The question of a row as it is asked."""
        template = filled(self.template, row or {})
        return put(question, template, self.system_prompt, self.bounds)

    def ask(self, item: Item) -> Question:
        """The question of an item as it is asked."""
        return self(item.question, item.row)


def framing_of(model: str) -> Framing | None:
    """How the run asked that a model was saved by; None for a model of no run."""
    file = Path(model).parent / "config.yaml"
    if not (Path(model).is_dir() and file.is_file()):
        return None
    try:
        config = configuration.load(file)
    except ConfigError:  # of something else
        return None
    bounds = Bounds(config.model.min_pixels, config.model.max_pixels)
    return Framing(config.data.template, config.data.system_prompt, bounds)


def framing(
    model: str,
    template: str | None,
    system_prompt: str | None,
    min_pixels: int | None,
    max_pixels: int | None,
) -> Framing:
    """How questions are put: as the run did that saved the model, where nothing else is said."""
    known = framing_of(model) or Framing()
    return Framing(
        template or known.template,
        system_prompt or known.system_prompt,
        Bounds(min_pixels or known.bounds.least, max_pixels or known.bounds.most),
    )


def model_of(
    path: str, sampling: Sampling, server: Settings | None, *, batch: int, concurrency: int
) -> Model:
    """The model behind a server, or on this machine.

    Raises:
        ConfigError: it cannot be loaded.
    """
    if server is not None:
        return Remote(server, sampling, concurrency)
    from vantage.evaluation import models  # torch is needed here alone

    return Local(models.load(path), sampling, batch)


def label(model: str) -> str:
    """A name for a model that can be one of a directory."""
    bare = re.sub(r"[^\w.+-]+", "-", model.strip("/.").replace("/", "-"))
    return bare.strip("-.") or "model"


def evaluate(
    exams: Sequence[Exam],
    model: Model,
    folder: Path,
    *,
    name: str,
    framing: Framing,
    judge: Judge | None = None,
) -> list[Result]:
    """Ask a model all exams, score its answers and write everything down.

    `folder` gets a directory for the model, with a journal, a parquet file of all responses and
    a JSON file of all measures for each exam; and the table over all models in it, which is
    written anew after each exam. The same call after an interruption goes on, and asks nothing
    again that was answered.

    Args:
        exams: what is asked.
        model: who is asked.
        folder: for results.
        name: of the model in tables, and its directory.
        framing: how questions are put.
        judge: a model that is asked about each response too.

    Raises:
        ConfigError: a journal in use, or a server that cannot be asked.
        EngineError: a server left answers out; the others are kept.
        InputError: pictures for a model that takes none, or other files among the results.
    """
    blind = isinstance(model, Local) and not model.loaded.sees
    for exam in exams:
        _check(exam, framing, name if blind else None)
    own = folder / label(name)
    found: list[Result] = []
    for exam in exams:
        found += _one(exam, model, own, name, framing, judge)
        table.write(folder, results.read_all(folder))
    return found


def _one(
    exam: Exam, model: Model, own: Path, name: str, framing: Framing, judge: Judge | None
) -> list[Result]:
    benchmark = exam.benchmark
    with Journal(own / f"{benchmark.name}.journal.jsonl") as journal:
        responses_QN = model.answers(
            lambda place: framing.ask(exam.read(place)), exam.size, journal, benchmark.title
        )
        items = exam.items()
        scores_QN = [
            [score(benchmark, item, one.text) for one in said]
            for item, said in zip(items, responses_QN, strict=True)
        ]
        judged_QN = judge.right(benchmark, items, responses_QN, journal) if judge else None
    path = own / f"{benchmark.name}.parquet"
    results.write_responses(path, benchmark, items, responses_QN, scores_QN, judged_QN)
    by_rule = _result(exam, items, responses_QN, _right(scores_QN), model, name, framing)
    found = [by_rule]
    if judge is not None and judged_QN is not None:
        measures = _told(exam, items, judged_QN)
        scored = f"{results.JUDGE} {judge.settings.model}"
        found.append(replace(by_rule, scored=scored, measures=measures))
    results.write(own / f"{benchmark.name}.json", found)
    return found


def _right(scores_QN: Sequence[Sequence[Score]]) -> np.ndarray:
    return np.array([[one.right for one in row] for row in scores_QN])


def _result(
    exam: Exam,
    items: Sequence[Item],
    responses_QN: Sequence[Sequence[Response]],
    right_QN: np.ndarray,
    model: Model,
    name: str,
    framing: Framing,
) -> Result:
    flat = [one for row in responses_QN for one in row]
    sampling = model.sampling
    return Result(
        name,
        exam.name,
        exam.benchmark.title,
        results.RULE,
        len(items),
        sampling.samples,
        sum(one.tokens >= sampling.max_tokens for one in flat),
        sum(one.failed is not None for one in flat),
        _settings(model, sampling, framing),
        exam.benchmark.shown,
        _told(exam, items, right_QN),
    )


def _told(exam: Exam, items: Sequence[Item], right_QN: np.ndarray) -> dict[str, Estimate]:
    """The measures of which there is something to tell."""
    measures = exam.benchmark.measures(items, right_QN)
    return {name: one for name, one in measures.items() if not np.isnan(one.mean)}


def _settings(model: Model, sampling: Sampling, framing: Framing) -> dict[str, Any]:
    pixels = (framing.bounds.least, framing.bounds.most)
    known = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "pixels": " to ".join(map(str, pixels)) if any(pixels) else None,
        "server": model.settings.base_url if isinstance(model, Remote) else None,
    }
    return {option: value for option, value in known.items() if value is not None}


def _check(exam: Exam, framing: Framing, blind: str | None) -> None:
    """Put every question once, so that none fails in the middle; `blind` takes no pictures."""
    for place in range(exam.size):
        try:
            asked = framing.ask(exam.read(place))
        except InputError as error:
            raise InputError(f"{exam.name}: question {place}: {error}") from error
        if blind and asked.images:
            raise InputError(
                f"{exam.name}: question {place} has pictures, of which {blind!r} takes none"
            )
