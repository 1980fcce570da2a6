"""`vantage eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def evaluate(
    model: Annotated[str, typer.Argument(help="Model directory, or name on the hub or server.")],
    data: Annotated[
        list[str],
        typer.Argument(help="Benchmarks (NAME, or NAME=PATH of a copy) or your own data."),
    ],
    output: Annotated[Path, typer.Option(help="Directory for results.")] = Path("runs/eval"),
    name: Annotated[str | None, typer.Option(help="Name of the model in tables.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Responses per question.")] = 8,
    temperature: Temperature = 0.5,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum response length.")] = 2048,
    seed: Annotated[int, typer.Option(help="Sampling seed.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first questions.")] = None,
    split: Annotated[str, typer.Option(help="Split of your own data.")] = "test",
    question: InQuestion = None,
    answer: InAnswer = None,
    image: InImage = None,
    images: InImages = None,
    run_asked: Annotated[
        Path | None, typer.Option("--as", help="Run directory whose prompt settings to use.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Prompt template with {question} and optionally <image>.")
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(help="System message.")] = None,
    min_pixels: Annotated[
        int | None, typer.Option(min=1, help="Scale smaller images up to this many pixels.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Scale larger images down to this many pixels.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Prompts per generation batch.")] = 16,
    base_url: Annotated[str | None, typer.Option(help="URL of a server that runs MODEL.")] = None,
    judge: Annotated[str | None, typer.Option(help="Model that also judges answers.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="URL of the judge's server.")] = None,
    concurrency: Concurrency = 16,
    requests_per_minute: PerMinute = None,
    timeout: Timeout = 600.0,
    retries: Retries = 5,
) -> None:
    """Evaluate MODEL on benchmarks or on your data, with 95 % confidence intervals.

    Prompts are built as in the run that trained MODEL. Models whose results are in the same
    directory share a table. To resume after an interruption, rerun the command.
    """
    from vantage.evaluation import report, run
    from vantage.evaluation.question_sets import question_sets
    from vantage.evaluation.sampling import Sampling

    if temperature == 0 and samples > 1:
        raise ConfigError(f"--temperature 0 gives {samples} equal responses: set --samples 1")
    if (judge is None) != (judge_url is None):
        raise ConfigError("expected --judge and --judge-url together")
    how = (temperature, timeout, retries, requests_per_minute)
    server = server_settings(base_url, model, *how) if base_url else None
    judging = server_settings(judge_url or "", judge, *how) if judge else None
    framing = run.framing(model, run_asked, template, system_prompt, min_pixels, max_pixels)
    columns = named_columns(question=question, answer=answer, image=image, images=images)
    asked = question_sets(data, limit=limit, split=split, columns=columns)
    sampling = Sampling(samples, temperature, max_tokens, seed)
    with application.resumable():
        found = run.evaluate(
            asked,
            run.model_of(model, sampling, server, batch=batch, concurrency=concurrency),
            output,
            name=name or model,
            framing=framing,
            judge=run.Judge(judging, concurrency) if judging else None,
        )
    application.console.print(report.table(found.results))
    for line in report.compared(found.results, found.differences):
        application.console.print(line, soft_wrap=True)
    application.console.print(f"all models: {output / 'table.md'!s}", soft_wrap=True)
