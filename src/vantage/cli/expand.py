"""`vantage expand`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vantage.cli import application
from vantage.cli.option_groups import (
    Concurrency,
    InAnswer,
    InImage,
    InImages,
    InQuestion,
    PerMinute,
    Retries,
    Temperature,
    Timeout,
    named_columns,
    server_settings,
)
from vantage.errors import ConfigError


def expand(
    data: Annotated[str, typer.Argument(help="File, directory or hub name.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    rewrites: Annotated[int, typer.Option(min=1, help="Rewrites per question.")],
    base_url: Annotated[str, typer.Option(help="URL of the server, ending in /v1.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "",
    built_in: Annotated[bool, typer.Option("--built-in", help="Use built-in wordings.")] = False,
    wordings: Annotated[Path | None, typer.Option(help="YAML file of wordings.")] = None,
    split: Annotated[str, typer.Option(help="Split of DATA.")] = "train",
    question: InQuestion = None,
    answer: InAnswer = None,
    image: InImage = None,
    images: InImages = None,
    with_image: Annotated[bool, typer.Option("--with-image", help="Send images too.")] = False,
    verify: Annotated[bool, typer.Option(help="Have MODEL check each rewrite.")] = True,
    concurrency: Concurrency = 16,
    requests_per_minute: PerMinute = None,
    temperature: Temperature = 1.0,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    journal: Annotated[
        Path | None, typer.Option(help="File that keeps replies; default: OUTPUT.journal.jsonl")
    ] = None,
) -> None:
    """Add rewrites of each question in DATA, made by a model on a server or from templates."""
    from vantage.rewriting import report, run
    from vantage.rewriting.wordings import FAMILIES, load

    rewriter: Any
    if built_in or wordings:
        rewriter = load(wordings) if wordings else FAMILIES
    else:
        if not base_url or not model:
            raise ConfigError("expected --base-url and --model of a server, or --built-in")
        rewriter = server_settings(
            base_url, model, temperature, timeout, retries, requests_per_minute
        )
    with application.resumable(), report.progress() as watch:
        summary = run.expand(
            data,
            output,
            rewrites=rewrites,
            rewriter=rewriter,
            split=split,
            columns=named_columns(question=question, answer=answer, image=image, images=images),
            with_pictures=with_image,
            verify=verify,
            concurrency=concurrency,
            journal=journal,
            watch=watch,
        )
    application.console.print(report.table(summary))
    if remark := report.remark(summary):
        application.console.print(remark, soft_wrap=True)
    application.console.print(f"written to {output!s}", soft_wrap=True)
    if not summary.accepted:
        raise typer.Exit(1)
