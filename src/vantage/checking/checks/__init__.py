"""The checks of a run, in the order of the report. Each is a function `(Context) -> findings`.

To add a check, write a function in a file of this package and add it to `CHECKS`. A check that
applies to one engine belongs in `CHECKS` of that engine's module `resolving`.
"""

from vantage.checking.checks.configuration import batch, engine, precision
from vantage.checking.checks.machine import gpu, memory, packages
from vantage.checking.checks.processor import processor
from vantage.checking.checks.prompts import long_prompts, prompts, special_tokens
from vantage.checking.checks.rewards import rewards
from vantage.checking.checks.rows import columns, duplicates, held_out, rows
from vantage.checking.context import Check

CHECKS: tuple[Check, ...] = (
    engine,
    rows,
    columns,
    rewards,
    processor,
    special_tokens,
    prompts,
    precision,
    long_prompts,
    duplicates,
    held_out,
    batch,
    memory,
    packages,
    gpu,
)
# Checks that also run if there are no usable training rows.
WITHOUT_ROWS: tuple[Check, ...] = (engine, rows, packages)
