"""`vantage check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vantage import files
from vantage.cli import application
from vantage.cli.option_groups import InAnswer, InImage, InImages, InQuestion
from vantage.cli.overrides import overrides


def check(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="File, directory, hub name, or YAML file of a run.")],
    model: Annotated[str | None, typer.Option(help="Model directory or hub name.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of DATA; default: train.")] = None,
    test: Annotated[str | None, typer.Option(help="Held-out data to compare DATA with.")] = None,
    test_split: Annotated[str, typer.Option(help="Split of the held-out data.")] = "test",
    layout: Annotated[str | None, typer.Option(help="Published layout of the columns.")] = None,
    question: InQuestion = None,
    answer: InAnswer = None,
    image: InImage = None,
    images: InImages = None,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Maximum prompt length, in tokens.")
    ] = None,
    min_pixels: Annotated[
        int | None, typer.Option(help="Scale smaller images up to this many pixels.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Scale larger images down to this many pixels.")
    ] = None,
    rejects: Annotated[Path | None, typer.Option(help="File to write all bad rows to.")] = None,
) -> None:
    """Check whether a model can train on DATA. A YAML file names both. Exit status 1 means no."""
    from vantage import config as configuration

    if rejects is not None:
        files.check_writable(rejects, "--rejects")
    given = {
        "model.path": model,
        "model.min_pixels": min_pixels,
        "model.max_pixels": max_pixels,
        "data.split": split,
        "data.layout": layout,
        "data.max_prompt_tokens": max_prompt_tokens,
        "data.columns.question": question,
        "data.columns.answer": answer,
        "data.columns.image": image,
        "data.columns.images": images,
    }
    settings = configuration.config_to_check(data, given, overrides(context.args))
    from vantage.checking import report, run

    found = run.check(settings, test=(test, test_split) if test else None)
    if rejects is not None:
        report.write_rejects(found, rejects)
    report.show(found, application.console)
    raise typer.Exit(found.status)
