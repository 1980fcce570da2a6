"""Run all checks on a configuration and collect a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vantage.checking.checks import CHECKS, WITHOUT_ROWS
from vantage.checking.context import Check, Context
from vantage.checking.report import CheckReport
from vantage.config import Config
from vantage.training import checkpoints
from vantage.training.engines import engine_of
from vantage.training.resolved import Source
from vantage.training.summary import summary


def check(config: Config, *, test: tuple[str, str] | None = None) -> CheckReport:
    """Check whether a run would train correctly, as far as this is possible without a GPU.

    Args:
        config: Configuration of the run. Its validation rows are checked as well.
        test: Path and split of rows that must not be among the training rows.

    Raises:
        ConfigError: An invalid option, or a model that cannot be loaded.
        InputError: Data, a split or a column that does not exist.
        EngineError: The installed version of the engine is not supported.
    """
    engine = engine_of(config)
    context = Context(engine.resolve(config), test=Source(*test) if test else None)
    return report(context, (*CHECKS, *engine.CHECKS))


def dry_run(config: Config, *, resume: bool = False) -> CheckReport:
    """Check a run as `check` does, and also the local machine and the run's directory.

    Args:
        config: Configuration of the run.
        resume: Whether the run resumes from its last checkpoint.

    Raises:
        ConfigError: See `check`; also if the directory holds another run.
        InputError, EngineError: See `check`.
    """
    engine = engine_of(config)
    engine.check_run(config, resume=resume)
    run = engine.resolve(config)
    context = Context(run, gpu=gpu_memory(), missing=tuple(engine.missing_packages(config)))
    if resume:
        checkpoints.check_rows(Path(config.run.output), context.rows)
    found = report(context, (*CHECKS, *engine.CHECKS))
    batches = found.pace.batches if found.pace else 0
    return replace(found, summary=summary(run, batches, resume=resume))


def report(context: Context, checks: tuple[Check, ...]) -> CheckReport:
    """Run checks and collect their findings in a report.

    Raises:
        ConfigError, InputError: The model or the data cannot be loaded.
    """
    applied = [check for check in checks if check in WITHOUT_ROWS or len(context.rows)]
    findings = [finding for check in applied for finding in check(context)]
    train, model = context.train, context.run.config.model.path
    found = CheckReport(train.name, model, len(train.rows), train.faults, findings=findings)
    if not len(train.rows):
        return found
    return replace(
        found,
        held_out_faults={one.data.name: one.data.faults for one in context.held_out},
        prompt_tokens=context.prompt_tokens,
        image_tokens=context.image_tokens,
        long=context.long,
        shared={one.data.name: one.shared for one in context.held_out},
        memory=context.memory,
        sampler=context.sampler,
        pace=context.pace,
        examples=context.examples,
    )


def gpu_memory() -> int | None:
    """Memory of the first GPU, in bytes; None without a GPU."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
