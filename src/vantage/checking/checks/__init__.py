"""The checks of a run, in the order of the report. Each is a function `(Context) -> findings`.

To add a check, write a function in a file of this package and add it to `CHECKS`. A check that
applies to one engine belongs in `CHECKS` of that engine's module `resolving`.
"""

from vantage.checking.checks.batch import batch
from vantage.checking.checks.columns import columns
from vantage.checking.checks.duplicates import duplicates
from vantage.checking.checks.engine import engine
from vantage.checking.checks.held_out import held_out
from vantage.checking.checks.long_prompts import long_prompts
from vantage.checking.checks.machine import gpu, packages
from vantage.checking.checks.memory import memory
from vantage.checking.checks.precision import precision
from vantage.checking.checks.processor import processor
from vantage.checking.checks.prompts import prompts
from vantage.checking.checks.rewards import rewards
from vantage.checking.checks.rows import rows
from vantage.checking.checks.special_tokens import special_tokens
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
