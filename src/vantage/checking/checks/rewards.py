"""The rewards: the columns that they need, and their values for known responses."""

from __future__ import annotations

from collections.abc import Iterator

from datasets import Dataset

from vantage.checking.answers import self_test
from vantage.checking.context import Context
from vantage.checking.findings import Finding
from vantage.errors import InputError
from vantage.questions.variants import Variants
from vantage.training.columns import check_columns


def rewards(context: Context) -> Iterator[Finding]:
    """Report missing columns, or else the problems of the rewards' self-test."""
    variants = context.run.config.variants
    missing = [*missing_columns(context, "the data", context.rows, variants)]
    yield from missing
    if not missing:
        yield from self_test(context.rewards, context.rows)


def missing_columns(
    context: Context, name: str, rows: Dataset, variants: Variants | None = None
) -> Iterator[Finding]:
    """Report columns that rewards and variants need but a data set does not have."""
    run, functions = context.run, [*context.rewards.values()]
    try:
        check_columns(name, rows, functions, variants, run.supplied, run.withheld)
    except InputError as error:
        yield Finding("error", "rewards", str(error))
