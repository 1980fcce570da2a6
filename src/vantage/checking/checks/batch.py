"""The size of a rollout batch."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding


@needs_rows
def batch(context: Context) -> Iterator[Finding]:
    """Warn if there are fewer rows than questions in a batch."""
    rows, questions = context.trained, context.run.shape.questions
    if rows < questions:
        words = f"{rows} rows for the {questions} questions of a batch: some repeat within a batch"
        yield Finding("warning", "batch", words)
