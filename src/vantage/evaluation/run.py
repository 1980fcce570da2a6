"""Evaluation: exams in, responses, scores and tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vantage import config as configuration
from vantage.chat.journal import Journal
from vantage.config import INSTRUCTION
from vantage.errors import ConfigError, EngineError, InputError
from vantage.evaluation import results, table
from vantage.evaluation.differences import differences
from vantage.evaluation.exams import Exam
from vantage.evaluation.items import Item
from vantage.evaluation.passk import Estimate
from vantage.evaluation.responses import Local, Model, Remote, Response, Sampling
from vantage.evaluation.results import Result
from vantage.evaluation.scoring import Judge, Score, score
from vantage.questions.acceptance import Acceptance, acceptance
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import put
from vantage.questions.schema import Question, fault_of, pictures, placeholders, refuse
from vantage.questions.templates import filled

if TYPE_CHECKING:
    from vantage.chat.server import Settings


@dataclass(frozen=True)
class Framing:
    """How questions are put, as in training.

    Attributes:
        template: text around every question, `{question}` standing for it, `<image>` for the
            pictures that stand first in it, the name of any other column for what it has there.
        system_prompt: put before every conversation.
        bounds: pixels of a picture; others are scaled.
    """

    template: str = INSTRUCTION
    system_prompt: str | None = None
    bounds: Bounds = Bounds()

    def __post_init__(self):
        fault = fault_of(self.template)
        if fault:
            raise ConfigError(f"template={self.template!r} {fault}")

    def __call__(self, question: Question, row: Mapping[str, Any] | None = None) -> Question:
        """The question of a row as it is asked."""
        template = filled(self.template, row or {})
        return put(question, template, self.system_prompt, self.bounds)

    def ask(self, item: Item) -> Question:
        """The question of an item as it is asked."""
        return self(item.question, item.row)


def framing_of(run: Path) -> Framing:
    """How a run asked; its configuration is read as data, and nothing that it names is built.

    Args:
        run: its directory.

    Raises:
        ConfigError: no configuration of a run is there.
    """
    model, data = configuration.sections(run / "config.yaml", "model", "data")
    return Framing(data.template, data.system_prompt, Bounds(model.min_pixels, model.max_pixels))


def _own_framing(model: str) -> Framing | None:
    """How the run asked that a model was saved by; None for a model of no run."""
    run = Path(model).parent
    if not (Path(model).is_dir() and (run / "config.yaml").is_file()):
        return None
    try:
        return framing_of(run)
    except ConfigError:  # of something else
        return None


def framing(
    model: str,
    run: Path | None,
    template: str | None,
    system_prompt: str | None,
    min_pixels: int | None,
    max_pixels: int | None,
) -> Framing:
    """How questions are put, where nothing else is said: as a run did, or the model's own.

    Raises:
        ConfigError: `run` has no configuration.
    """
    known = framing_of(run) if run else _own_framing(model) or Framing()
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
        ConfigError: a journal in use, a server that cannot be asked, or results of something
            else under that name.
        EngineError: a server left answers out, or refused all; the others are kept.
        InputError: pictures for a model that takes none, or other files among the results.
    """
    processor = model.loaded.processor if isinstance(model, Local) else None
    takes = acceptance(processor, framing.bounds)
    blind = isinstance(model, Local) and not (model.loaded.sees and takes)
    reserved = placeholders(processor) if processor is not None else ()
    for exam in exams:
        _check(exam, framing, name if blind else None, reserved, takes)
    own = folder / results.label(name)
    asked = _asked(model.sampling, framing)
    for exam in exams:
        results.check_same(own / f"{exam.file}.json", name, _origin(exam, model), asked)
    found: list[Result] = []
    for exam in exams:
        found += _one(exam, model, own, name, framing, judge)
        known = results.read_all(folder)
        table.write(folder, known, differences(folder, known))
    return found


def _one(
    exam: Exam, model: Model, own: Path, name: str, framing: Framing, judge: Judge | None
) -> list[Result]:
    benchmark = exam.benchmark
    with Journal(own / f"{exam.file}.journal.jsonl") as journal:
        responses_QN = model.answers(
            lambda place: framing.ask(exam.read(place)), exam.size, journal, benchmark.title
        )
        items = exam.items()
        scores_QN = [
            [score(benchmark, item, one.text) for one in said]
            for item, said in zip(items, responses_QN, strict=True)
        ]
        judged_QN = judge.right(benchmark, items, responses_QN, journal) if judge else None
    path = own / f"{exam.file}.parquet"
    results.write_responses(path, benchmark, items, responses_QN, scores_QN, judged_QN)
    answered = _answered(exam, responses_QN)
    measures = _told(exam, items, _right(scores_QN), answered)
    by_rule = _result(exam, responses_QN, measures, len(answered), model, name, framing)
    found = [by_rule]
    if judge is not None and judged_QN is not None:
        measures = _told(exam, items, judged_QN, answered)
        scored = f"{results.JUDGE} {judge.settings.model}"
        found.append(replace(by_rule, scored=scored, measures=measures))
    results.write(own / f"{exam.file}.json", found)
    return found


def _right(scores_QN: Sequence[Sequence[Score]]) -> np.ndarray:
    return np.array([[one.right for one in row] for row in scores_QN])


def _answered(exam: Exam, responses_QN: Sequence[Sequence[Response]]) -> list[int]:
    """Questions whose responses are all there: an error is no wrong answer.

    Raises:
        EngineError: there are none.
    """
    failed_Q = [next((one.failed for one in row if one.failed), None) for row in responses_QN]
    found = [place for place, failed in enumerate(failed_Q) if failed is None]
    if not found:
        raise EngineError(f"{exam.name}: no question has an answer: {failed_Q[0]}")
    return found


def _result(
    exam: Exam,
    responses_QN: Sequence[Sequence[Response]],
    measures: dict[str, Estimate],
    answered: int,
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
        len(responses_QN),
        sampling.samples,
        sum(one.tokens >= sampling.max_tokens for one in flat),
        sum(one.failed is not None for one in flat),
        len(responses_QN) - answered,
        _origin(exam, model),
        _asked(sampling, framing),
        exam.benchmark.shown,
        measures,
    )


def _told(
    exam: Exam, items: Sequence[Item], right_QN: np.ndarray, answered: Sequence[int]
) -> dict[str, Estimate]:
    """The measures of which there is something to tell."""
    measures = exam.benchmark.measures([items[place] for place in answered], right_QN[answered])
    return {name: one for name, one in measures.items() if not np.isnan(one.mean)}


def _origin(exam: Exam, model: Model) -> dict[str, str]:
    return {**model.origin, "data": exam.source}


def _asked(sampling: Sampling, framing: Framing) -> dict[str, Any]:
    """How questions are asked; the number of samples makes no other question of one."""
    pixels = (framing.bounds.least, framing.bounds.most)
    known = {
        "template": framing.template,
        "system_prompt": framing.system_prompt,
        "pixels": " to ".join(map(str, pixels)) if any(pixels) else None,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
    }
    return {option: value for option, value in known.items() if value is not None}


def _check(
    exam: Exam,
    framing: Framing,
    blind: str | None,
    reserved: Sequence[str],
    takes: Acceptance | None,
) -> None:
    """Put every question once, so that none fails in the middle; `blind` takes no pictures."""
    for place in range(exam.size):
        try:
            asked = framing.ask(exam.read(place))
            refuse(asked, reserved)
            if takes is not None:
                for image in pictures(asked):
                    takes.check(*image.unread().size)
        except InputError as error:
            raise InputError(f"{exam.name}: question {place}: {error}") from error
        if blind and pictures(asked):
            raise InputError(
                f"{exam.name}: question {place} has pictures, of which {blind!r} takes none"
            )
