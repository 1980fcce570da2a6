"""Evaluation of a model: from question sets to responses, scores and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vantage import config as configuration
from vantage import files
from vantage.chat.journal import Journal, digest
from vantage.config import INSTRUCTION
from vantage.errors import ConfigError, EngineError, InputError
from vantage.evaluation import report, results
from vantage.evaluation.differences import Difference, differences
from vantage.evaluation.items import Item
from vantage.evaluation.question_sets import QuestionSet
from vantage.evaluation.responses import Local, Model, Remote, content
from vantage.evaluation.results import Result
from vantage.evaluation.sampling import Response, Sampling
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
    """The frame in which questions are asked, the same as in training.

    Attributes:
        template: Text around every question. `{question}` is replaced by the question, `<image>`
            by its leading images, and `{column}` by the value of that column.
        system_prompt: System prompt of every conversation.
        bounds: Minimum and maximum pixels of an image; other images are resized.

    Raises:
        ConfigError: If the template has no place for the question, or two for its images.
    """

    template: str = INSTRUCTION
    system_prompt: str | None = None
    bounds: Bounds = Bounds()

    def __post_init__(self):
        fault = fault_of(self.template)
        if fault:
            raise ConfigError(f"template={self.template!r} {fault}")

    def __call__(self, question: Question, row: Mapping[str, Any] | None = None) -> Question:
        """Frame the question of a row."""
        template = filled(self.template, row or {})
        return put(question, template, self.system_prompt, self.bounds)

    def ask(self, item: Item) -> Question:
        """Frame the question of an item."""
        return self(item.question, item.row)


def framing_of(run: Path) -> Framing:
    """Read the framing of a run from its configuration, without loading what that names.

    Args:
        run: Directory of the run.

    Raises:
        ConfigError: If the directory has no configuration of a run.
    """
    model, data = configuration.sections(run / "config.yaml", "model", "data")
    return Framing(data.template, data.system_prompt, Bounds(model.min_pixels, model.max_pixels))


def _own_framing(model: str) -> Framing | None:
    """Return the framing of the run that saved a model; None if the model is not from a run."""
    run = Path(model).parent
    if not (Path(model).is_dir() and (run / "config.yaml").is_file()):
        return None
    try:
        return framing_of(run)
    except ConfigError:  # the config.yaml of another tool
        return None


def framing(
    model: str,
    run: Path | None,
    template: str | None,
    system_prompt: str | None,
    min_pixels: int | None,
    max_pixels: int | None,
) -> Framing:
    """Resolve the framing: the given values, else those of `run`, else those of the model's run.

    An empty `system_prompt` removes the one of the run.

    Raises:
        ConfigError: If `run` has no configuration.
    """
    known = framing_of(run) if run else _own_framing(model) or Framing()
    return Framing(
        known.template if template is None else template,
        known.system_prompt if system_prompt is None else system_prompt or None,
        Bounds(min_pixels or known.bounds.least, max_pixels or known.bounds.most),
    )


def model_of(
    path: str, sampling: Sampling, server: Settings | None, *, batch: int, concurrency: int
) -> Model:
    """Return the model behind a server, or load it on this machine.

    Raises:
        ConfigError: If the model cannot be loaded.
    """
    if server is not None:
        return Remote(server, sampling, concurrency)
    from vantage.evaluation import models  # imports torch, which a server does not need

    return Local(models.load(path), sampling, batch)


class Evaluated(NamedTuple):
    """The results of one model, and the differences between all models in its directory."""

    results: list[Result]
    differences: list[Difference]


def evaluate(
    question_sets: Sequence[QuestionSet],
    model: Model,
    folder: Path,
    *,
    name: str,
    framing: Framing,
    judge: Judge | None = None,
) -> Evaluated:
    """Ask a model all questions, score its answers and write the results.

    The model gets a directory in `folder`. For each question set, it holds a journal, a parquet
    file of all responses and a JSON file of all measures; each judge adds separate files. The
    table of all models in `folder` is updated after each question set. If interrupted, call again
    with the same arguments to resume; answered questions are not asked again.

    Args:
        question_sets: Questions to ask.
        model: Model to evaluate.
        folder: Directory of the results.
        name: Name of the model in tables and of its directory.
        framing: Template, system prompt and pixels of the questions.
        judge: Judges each response in addition to the rule.

    Raises:
        ConfigError: If a journal is in use, the server cannot be reached, or `folder` has other or
            larger results under that name.
        EngineError: If the server gave no answer to some questions; the journal keeps the others.
        InputError: If a question has images that the model does not accept, or the directory has
            files that are not results.
    """
    files.check_writable(folder, "--output", folder=True)
    processor = model.loaded.processor if isinstance(model, Local) else None
    takes = acceptance(processor, framing.bounds)
    blind = isinstance(model, Local) and not (model.loaded.sees and takes)
    reserved = placeholders(processor) if processor is not None else ()
    marks = [
        _check(one, framing, name if blind else None, reserved, takes) for one in question_sets
    ]
    own = folder / results.label(name)
    begun = [
        _begun(questions, digest(seen), model, name, framing)
        for questions, seen in zip(question_sets, marks, strict=True)
    ]
    for questions, new, seen in zip(question_sets, begun, marks, strict=True):
        for by in [{}, judge.identity] if judge else [{}]:
            results.check_same(own, results.stem(questions.file, by), new, seen)
    results.read_all(folder)  # fail on damaged results before asking anything, not after
    found: list[Result] = []
    try:
        for questions, new in zip(question_sets, begun, strict=True):
            found += _one(questions, new, model, own, framing, judge)
            report.write(folder, results.read_all(folder), [])
    finally:
        known = results.read_all(folder)
        between = differences(known)
        if known:
            report.write(folder, known, between)
    return Evaluated(found, between)


def _one(
    questions: QuestionSet,
    new: Result,
    model: Model,
    own: Path,
    framing: Framing,
    judge: Judge | None,
) -> list[Result]:
    benchmark = questions.benchmark
    with Journal(own / f"{questions.file}.journal.jsonl") as journal:
        responses_QN = model.answers(
            lambda place: framing.ask(questions.read(place)),
            questions.size,
            journal,
            benchmark.title,
        )
        items = questions.items()
        scores_QN = [
            [score(benchmark, item, one.text) for one in said]
            for item, said in zip(items, responses_QN, strict=True)
        ]
        failed_QN = np.array([[one.failed is not None for one in row] for row in responses_QN])
        if failed_QN.any(axis=1).all():
            why = next(one.failed for one in responses_QN[0] if one.failed)
            raise EngineError(f"{questions.name}: no question has an answer: {why}")
        verdicts: list[tuple[dict[str, Any], np.ndarray]] = [({}, _right(scores_QN, failed_QN))]
        if judge is not None:
            verdicts.append((judge.identity, judge.right(benchmark, items, responses_QN, journal)))
    found = []
    for by, right_QN in verdicts:
        path = own / results.stem(questions.file, by)
        judged_QN = right_QN if by else None
        results.write_responses(
            Path(f"{path}.parquet"), benchmark, items, responses_QN, scores_QN, judged_QN
        )
        file = Path(f"{path}.json")
        found.append(replace(_result(new, by, questions, items, responses_QN, right_QN), path=file))
        results.write(file, found[-1])
    return found


def _right(scores_QN: Sequence[Sequence[Score]], failed_QN: np.ndarray) -> np.ndarray:
    """Return right_QN by the rule; NaN for failed responses, which are not wrong answers."""
    right_QN = np.array([[one.right for one in row] for row in scores_QN], dtype=float)
    return np.where(failed_QN, np.nan, right_QN)


def _begun(questions: QuestionSet, mark: str, model: Model, name: str, framing: Framing) -> Result:
    """Return the result before the evaluation, without measures."""
    return Result(
        name,
        questions.name,
        questions.benchmark.title,
        {},
        questions.size,
        model.sampling.samples,
        0,
        0,
        0,
        {**model.origin, "data": questions.source, "questions": mark},
        _asked(model.sampling, framing),
        questions.benchmark.shown,
        {},
    )


def _result(
    new: Result,
    by: dict[str, Any],
    questions: QuestionSet,
    items: Sequence[Item],
    responses_QN: Sequence[Sequence[Response]],
    right_QN: np.ndarray,
) -> Result:
    """Compute the result by a rule or a judge, on the questions with all verdicts.

    Raises:
        EngineError: If no question has all verdicts.
    """
    flat = [one for row in responses_QN for one in row]
    told_Q = ~np.isnan(right_QN).any(axis=1)
    if not told_Q.any():
        raise EngineError(f"{questions.name}: no question has a verdict on all of its responses")
    answered = [item for item, told in zip(items, told_Q, strict=True) if told]
    measures = questions.benchmark.measures(answered, right_QN[told_Q].astype(bool))
    return replace(
        new,
        judge=by,
        cut=sum(one.tokens >= new.asked["max_tokens"] for one in flat),
        failed=int(np.isnan(right_QN).sum()),
        left_out=int((~told_Q).sum()),
        measures={name: one for name, one in measures.items() if not np.isnan(one.mean)},
    )


def _asked(sampling: Sampling, framing: Framing) -> dict[str, Any]:
    """Return the settings that a response depends on; the number of samples is not one."""
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
    questions: QuestionSet,
    framing: Framing,
    blind: str | None,
    reserved: Sequence[str],
    takes: Acceptance | None,
) -> list[str]:
    """Frame and check every question before the first is asked.

    Args:
        questions: The questions.
        framing: Template, system prompt and pixels of the questions.
        blind: Name of a model that accepts no images; None for any other model.
        reserved: Image placeholders of the processor.
        takes: Image sizes that the processor accepts; None if unknown.

    Returns:
        A digest of each question.

    Raises:
        InputError: If a question cannot be asked; names its number.
    """
    marks = []
    for place in range(questions.size):
        try:
            item = questions.read(place)
            asked = framing.ask(item)
            refuse(asked, reserved)
            if takes is not None:
                for image in pictures(asked):
                    takes.check(*image.unread().size)
            marks.append(digest([content(item.question), item.reference, item.options]))
        except InputError as error:
            raise InputError(f"{questions.name}: question {place}: {error}") from error
        if blind and pictures(asked):
            raise InputError(
                f"{questions.name}: question {place} has images, but {blind!r} accepts none"
            )
    return marks
