"""The configuration: warnings of the engine, the size of a batch, the precision of the weights."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context
from vantage.checking.findings import Finding
from vantage.training.precision import expected, judge


def engine(context: Context) -> Iterator[Finding]:
    """Report the warnings of the engine."""
    for words in context.run.warnings:
        yield Finding("warning", "engine", words)


def batch(context: Context) -> Iterator[Finding]:
    """Warn if there are fewer rows than questions in a batch."""
    rows, questions = context.trained, context.run.shape.questions
    if rows < questions:
        words = f"{rows} rows for the {questions} questions of a batch: some repeat within a batch"
        yield Finding("warning", "batch", words)


def precision(context: Context) -> Iterator[Finding]:
    """Report whether rounding in the weights' precision would lose optimizer steps."""
    run = context.run
    if run.steps is None:
        return
    spread = getattr(context.model.config.get_text_config(), "initializer_range", None)
    verdict = judge(expected(run.kept_in, spread), run.steps)
    if verdict.error:
        yield Finding("error", "precision", verdict.error)
    elif verdict.warning:
        yield Finding("warning", "precision", verdict.warning)
