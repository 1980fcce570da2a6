"""The precision of the trained weights."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding
from vantage.training.precision import expected, judge


@needs_rows
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
