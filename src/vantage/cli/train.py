"""`vantage train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from vantage.cli import application
from vantage.cli.overrides import overrides
from vantage.terminal import shown

if TYPE_CHECKING:
    from vantage.config import Config


def train(
    context: typer.Context,
    config: Annotated[
        Path, typer.Argument(help="YAML file; `vantage recipes` prints a directory of examples.")
    ],
    resume: Annotated[bool, typer.Option(help="Resume from the last complete checkpoint.")] = False,
    print_engine_config: Annotated[
        bool, typer.Option("--print-engine-config", help="Print the engine's options and exit.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print what would run, and exit.")
    ] = False,
) -> None:
    """Train as CONFIG specifies. Options override it, as in --run.seed 1; see `vantage options`."""
    from vantage import config as configuration

    settings = configuration.load(config, overrides(context.args))
    if print_engine_config:
        print(shown(_engine_config(settings, resume)))
    elif dry_run:
        raise typer.Exit(_dry_run(settings, resume))
    elif settings.engine == "verl":
        from vantage.training.verl import launch

        launch.train(settings, resume=resume)
        application.console.print(f"checkpoints in {settings.run.output}", soft_wrap=True)
    else:
        _train_with_trl(settings, resume)


def _train_with_trl(settings: Config, resume: bool) -> None:
    from vantage.training.trl import run

    interrupt = run.FinishOnSignal()
    state = run.train(settings, resume=resume, interrupt=interrupt).state
    run.part()
    if not state.is_world_process_zero:
        raise typer.Exit(0 if state.global_step >= state.max_steps else 128 + interrupt.asked)
    application.console.print(f"model saved in {settings.run.output}/model", soft_wrap=True)
    if state.global_step < state.max_steps:
        done = f"stopped after update {state.global_step} of {state.max_steps}"
        application.console.print(
            f"{done}; rerun the command with --resume to continue", soft_wrap=True
        )
        raise typer.Exit(128 + interrupt.asked)  # shell convention: 130 SIGINT, 143 SIGTERM


def _engine_config(settings: Config, resume: bool) -> str:
    """The options passed to the engine, as YAML."""
    if settings.engine == "verl":
        from omegaconf import OmegaConf

        from vantage.training.verl import launch

        return OmegaConf.to_yaml(launch.engine_config(settings, resume))
    from vantage.training.trl import run

    return run.as_yaml(run.arguments(settings))


def _dry_run(settings: Config, resume: bool) -> int:
    """Check and print what would run, without training; return the status of `vantage check`."""
    from vantage.checking import report, run

    found = run.dry_run(settings, resume=resume)
    report.show(found, application.console)
    table = Table("what would run", "")
    for name, value in found.summary.items():
        table.add_row(name, value)
    application.console.print(table)
    return found.status
