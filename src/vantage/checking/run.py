"""The check of a run: its context goes through all checks, and becomes a report."""

from __future__ import annotations

from dataclasses import replace

from vantage.checking import machine
from vantage.checking.check_report import CheckReport
from vantage.checking.checks import CHECKS
from vantage.checking.context import Check, Context
from vantage.checking.machine import Machine
from vantage.config import Config
from vantage.training import checkpoints
from vantage.training.engines import engine_of
from vantage.training.resolved import Source
from vantage.training.summary import summary


def check(config: Config, *, test: tuple[str, str] | None = None) -> CheckReport:
    """Check whether a run would train as it should, as far as that is known without a GPU.

    Args:
        config: of the run. Its validation rows are checked as well.
        test: data and split that must not be among the training rows.

    Raises:
        ConfigError: an option that does not fit, or a model that cannot be loaded.
        InputError: no such data, split or column.
        EngineError: the installed version of the engine is not supported.
    """
    engine = engine_of(config)
    context = Context(engine.resolve(config), test=Source(*test) if test else None)
    return report(context, (*CHECKS, *engine.CHECKS))


def dry_run(config: Config, *, resume: bool = False) -> CheckReport:
    """`check`, for the machine at hand and the directory of the run.

    Args:
        config: of the run.
        resume: whether the run continues from its last checkpoint.

    Raises:
        ConfigError: as `check`, or the directory has another run.
        InputError, EngineError: as `check`.
    """
    engine = engine_of(config)
    engine.check_run(config, resume=resume)
    run = engine.resolve(config)
    here = Machine(machine.gpu_memory(), tuple(engine.missing_packages(config)))
    context = Context(run, machine=here)
    if resume:
        checkpoints.check_rows(run.settings.output, context.rows)
    found = report(context, (*CHECKS, *engine.CHECKS))
    batches = found.pace.batches if found.pace else 0
    return replace(found, summary=summary(run, batches, resume=resume))


def report(context: Context, checks: tuple[Check, ...]) -> CheckReport:
    """The report of all checks.

    Raises:
        ConfigError, InputError: the model or the data cannot be loaded.
    """
    findings = [finding for check in checks for finding in check(context)]
    settings, train = context.run.settings, context.train
    report = CheckReport(
        settings.train.path,
        settings.model,
        len(train.rows),
        train.faults,
        findings=findings,
    )
    if not len(train.rows):
        return report
    return replace(
        report,
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
