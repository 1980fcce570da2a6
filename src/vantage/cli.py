"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import functools
import inspect
import math
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from vantage import files
from vantage.errors import ConfigError, VantageError
from vantage.terminal import LONGEST, Console, install, shown

if TYPE_CHECKING:
    from vantage.config import Config
    from vantage.questions.layouts import Columns
    from vantage.record import Record

app = typer.Typer(
    help="Reinforcement learning of vision-language models that uses every rollout.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

# Where packages that are not always there come from.
EXTRAS = {
    **dict.fromkeys(("torch", "trl", "transformers", "datasets", "peft", "packaging"), "trl"),
    "sklearn": "demo",
    **dict.fromkeys(("jinja2", "matplotlib", "pyarrow"), "report"),
    **dict.fromkeys(("httpx2", "tenacity"), "judge"),
    **dict.fromkeys(("verl", "ray", "hydra", "omegaconf", "tensordict", "transfer_queue"), "verl"),
}

OPTIONS_OF_THE_FILE = {"allow_extra_args": True, "ignore_unknown_options": True}

# Arguments and options that may name a file or a directory, or something else.
PLACES = ("data", "model", "recipe", "test")


class Command(TyperCommand):
    """A command that refuses numbers that are not finite and expands ~ in paths."""

    def invoke(self, ctx: Any) -> Any:
        """Run it with what was given."""
        ctx.params = {name: _as_meant(name, value) for name, value in ctx.params.items()}
        return super().invoke(ctx)


def _as_meant(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_meant(name, one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"--{name.replace('_', '-')} {value}: expected a finite number")
    if isinstance(value, Path):
        return Path(files.home(str(value)))
    return files.home(value) if name in PLACES and isinstance(value, str) else value


command = functools.partial(app.command, cls=Command)

InQuestion = Annotated[str | None, typer.Option(help="Column with the question.")]
InAnswer = Annotated[str | None, typer.Option(help="Column with the reference answer.")]
InImage = Annotated[str | None, typer.Option(help="Column with one picture; empty for none.")]
InImages = Annotated[str | None, typer.Option(help="Column with pictures; empty for none.")]
Temperature = Annotated[float, typer.Option(min=0, help="Sampling temperature.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Concurrent requests.")]
PerMinute = Annotated[float | None, typer.Option(min=0.01, help="Limit of requests.")]
Timeout = Annotated[float, typer.Option(min=0.01, help="Seconds per request.")]
Retries = Annotated[int, typer.Option(min=0, help="Retries of a failed request.")]

INTERRUPTED = 130  # as shells have it after Ctrl-C


@command(context_settings=OPTIONS_OF_THE_FILE)
def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML file; see recipes/ for some to copy.")],
    resume: Annotated[bool, typer.Option(help="Resume from the last whole checkpoint.")] = False,
    print_engine_config: Annotated[
        bool, typer.Option("--print-engine-config", help="Show what the engine gets, and stop.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show what would run, and stop.")
    ] = False,
) -> None:
    """Train as CONFIG says. `vantage options` can be given: --engine verl, --run.seed 1"""
    from vantage import config as configuration

    settings = configuration.load(config, overrides(context.args))
    if print_engine_config:
        print(shown(_engine_config(settings, resume)))
    elif dry_run:
        raise typer.Exit(_dry_run(settings, resume))
    elif settings.engine == "verl":
        from vantage.training.verl import launch

        launch.train(settings, resume=resume)
        console.print(f"checkpoints in {settings.run.output}", soft_wrap=True)
    else:
        _train_with_trl(settings, resume)


def _train_with_trl(settings: Config, resume: bool) -> None:
    from vantage.training.trl import run

    interrupt = run.FinishOnSignal()
    state = run.train(settings, resume=resume, interrupt=interrupt).state
    run.part()
    if not state.is_world_process_zero:
        raise typer.Exit(0 if state.global_step >= state.max_steps else 128 + interrupt.asked)
    console.print(f"model saved in {settings.run.output}/model", soft_wrap=True)
    if state.global_step < state.max_steps:
        done = f"stopped after update {state.global_step} of {state.max_steps}"
        console.print(f"{done}; rerun the command with --resume to continue", soft_wrap=True)
        raise typer.Exit(128 + interrupt.asked)  # as shells have it: 130 SIGINT, 143 SIGTERM


def _engine_config(settings: Config, resume: bool) -> str:
    """What the engine is told, as YAML."""
    if settings.engine == "verl":
        from omegaconf import OmegaConf

        from vantage.training.verl import launch

        return OmegaConf.to_yaml(launch.engine_config(settings, resume))
    import yaml

    from vantage.training.trl import run

    return yaml.safe_dump(run.arguments(settings).to_dict(), sort_keys=False)


def _dry_run(settings: Config, resume: bool) -> int:
    """Everything but the run; the exit status, as of `check`."""
    from vantage.checking import report, run
    from vantage.training.outline import outline

    found = run.rehearse(settings, resume=resume)
    report.show(found, console)
    table = Table("what would run", "")
    batches = found.pace.batches if found.pace else 0
    for name, value in outline(settings, found.shape, batches, resume).items():
        table.add_row(name, value)
    console.print(table)
    return found.status


@command(context_settings=OPTIONS_OF_THE_FILE)
def check(
    context: typer.Context,
    data: Annotated[
        str, typer.Argument(help="File, directory, name on the hub, or YAML file of a run.")
    ],
    model: Annotated[str | None, typer.Option(help="Directory or name on the hub.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of DATA, default train.")] = None,
    test: Annotated[str | None, typer.Option(help="Held-out data to compare DATA with.")] = None,
    test_split: Annotated[str, typer.Option(help="Split of the held-out data.")] = "test",
    layout: Annotated[str | None, typer.Option(help="Published layout of the columns.")] = None,
    question: InQuestion = None,
    answer: InAnswer = None,
    image: InImage = None,
    images: InImages = None,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Length of the longest prompt.")
    ] = None,
    min_pixels: Annotated[int | None, typer.Option(help="Smaller pictures are scaled up.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Larger pictures are scaled down.")] = None,
    rejects: Annotated[Path | None, typer.Option(help="File to list all bad rows in.")] = None,
) -> None:
    """Check whether DATA will train with a model; exit status 1 if not. A YAML file names both."""
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
    settings = configuration.of_check(data, given, overrides(context.args))
    from vantage.checking import report, run

    found = run.check(settings, test=(test, test_split) if test else None)
    if rejects is not None:
        report.write_rejects(found, rejects)
    report.show(found, console)
    raise typer.Exit(found.status)


@command()
def options() -> None:
    """The options of a configuration file, with their types and defaults."""
    from vantage.config import Config, describe

    table = Table("option", "type", "default")
    for name, kind, default in describe(Config):
        table.add_row(name, kind, default)
    console.print(table)


@command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="Directory, or name on the hub or server.")],
    data: Annotated[
        list[str],
        typer.Argument(help="Benchmarks (NAME, or NAME=PATH of a copy) or your own data."),
    ],
    output: Annotated[Path, typer.Option(help="Directory for results.")] = Path("runs/eval"),
    name: Annotated[str | None, typer.Option(help="Name of the model in tables.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Responses per question.")] = 8,
    temperature: Temperature = 0.5,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest response.")] = 2048,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first questions.")] = None,
    split: Annotated[str, typer.Option(help="Split of your own data.")] = "test",
    question: InQuestion = None,
    answer: InAnswer = None,
    image: InImage = None,
    images: InImages = None,
    run_asked: Annotated[
        Path | None, typer.Option("--as", help="Directory of a run; ask as it did.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Text around {question}; <image> for pictures.")
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(help="System message.")] = None,
    min_pixels: Annotated[
        int | None, typer.Option(min=1, help="Smaller pictures are scaled up.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Larger pictures are scaled down.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Prompts generated together.")] = 16,
    base_url: Annotated[str | None, typer.Option(help="URL of a server that has MODEL.")] = None,
    judge: Annotated[str | None, typer.Option(help="Model that also judges answers.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="URL of the judge's server.")] = None,
    concurrency: Concurrency = 16,
    requests_per_minute: PerMinute = None,
    timeout: Timeout = 600.0,
    retries: Retries = 5,
) -> None:
    """Measure MODEL on benchmarks or on your data, with 95 % intervals.

    Questions are asked as in the run that trained MODEL. Models evaluated into one directory
    share a table. If interrupted, rerun the command to resume.
    """
    from vantage.evaluation import exams, report, run
    from vantage.evaluation.responses import Sampling

    if temperature == 0 and samples > 1:
        raise ConfigError(f"--temperature 0 gives {samples} times the same: add --samples 1")
    if (judge is None) != (judge_url is None):
        raise ConfigError("expected --judge and --judge-url together")
    how = (temperature, timeout, retries, requests_per_minute)
    server = _server(base_url, model, *how) if base_url else None
    judging = _server(judge_url or "", judge, *how) if judge else None
    framing = run.framing(model, run_asked, template, system_prompt, min_pixels, max_pixels)
    columns = named(question=question, answer=answer, image=image, images=images)
    asked = exams.exams(data, limit=limit, split=split, columns=columns)
    sampling = Sampling(samples, temperature, max_tokens, seed)
    try:
        found = run.evaluate(
            asked,
            run.model_of(model, sampling, server, batch=batch, concurrency=concurrency),
            output,
            name=name or model,
            framing=framing,
            judge=run.Judge(judging, concurrency) if judging else None,
        )
    except KeyboardInterrupt:
        console.print("stopped; rerun the command to resume")
        raise typer.Exit(INTERRUPTED) from None
    console.print(report.table(found.results))
    for line in report.compared(found):
        console.print(line, soft_wrap=True)
    console.print(f"all models: {output / 'table.md'!s}", soft_wrap=True)


@command()
def recipes() -> None:
    """The recipes there are, with their papers and options."""
    from vantage.methods import RECIPES

    table = Table("recipe", "options", "updates a batch", "what it does")
    for name, factory in RECIPES.items():
        parameters = inspect.signature(factory).parameters.values()
        options = ", ".join(f"{p.name}={p.default}" for p in parameters)
        summary = " ".join((inspect.getdoc(factory) or "").split())
        table.add_row(name, options, str(factory().loss.updates or 1), summary)
    console.print(table)


@command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path(
        "report.html"
    ),
) -> None:
    """One HTML page over RUNS: how they learn, where the gradient comes from, every question."""
    from vantage.record.reading import Record
    from vantage.report import page

    records = [Record(run) for run in runs]
    for record in records:
        _left_out(record)
    page.write(records, output)
    console.print(f"written to {output!s}", soft_wrap=True)


@command()
def replay(
    run: Annotated[Path, typer.Argument(help="Directory of a run.")],
    recipe: Annotated[str, typer.Option(help="Name, or file.py:function.")],
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the recipe, as name=value.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="PNG file.")] = None,
) -> None:
    """What another recipe would have trained on the rollouts of RUN; no model is needed."""
    from vantage.evaluation.results import label
    from vantage.methods.recipe import recipe as named_recipe
    from vantage.record.reading import Record
    from vantage.record.replay import replay as replayed
    from vantage.report import comparison

    other = named_recipe(recipe, **settings_of(options or []))
    figure = output or run / f"replay-{label(other.name)}.png"
    files.check_writable(figure, "--output")
    record = Record(run)
    _left_out(record)
    found = replayed(record, other)
    done = record.about.name
    console.print(comparison.table(found, done, other.name))
    for line in comparison.remarks(record, other, found):
        console.print(line, soft_wrap=True)
    comparison.draw(found, done, other.name, figure)
    console.print(f"figure in {figure!s}", soft_wrap=True)


@command()
def demo(
    recipes: Annotated[
        str, typer.Option(help="Recipes to compare, separated by commas.")
    ] = "grpo,shuffle-r1,share-grpo,share-shuffle",
    output: Annotated[Path, typer.Option(help="Directory for the runs.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of data and runs.")] = 0,
) -> None:
    """Teach a tiny vision-language model to add handwritten digits, under several recipes."""
    from vantage.demo import run

    run.demo([name.strip() for name in recipes.split(",")], output, seed=seed)


@command()
def expand(
    data: Annotated[str, typer.Argument(help="File, directory or name on the hub.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    variants: Annotated[int, typer.Option(min=1, help="Rewrites per question.")],
    base_url: Annotated[str, typer.Option(help="URL of the server, ending in /v1.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "",
    template: Annotated[bool, typer.Option("--template", help="Built-in wordings.")] = False,
    wordings: Annotated[Path | None, typer.Option(help="YAML file of wordings.")] = None,
    split: Annotated[str, typer.Option(help="Split of DATA.")] = "train",
    question: InQuestion = None,
    answer: InAnswer = None,
    image: InImage = None,
    images: InImages = None,
    with_image: Annotated[bool, typer.Option("--with-image", help="Send the pictures.")] = False,
    judge: Annotated[bool, typer.Option(help="Ask if each rewrite means the same.")] = True,
    concurrency: Concurrency = 16,
    requests_per_minute: PerMinute = None,
    temperature: Temperature = 1.0,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    journal: Annotated[Path | None, typer.Option(help="Default: OUT.journal.jsonl")] = None,
) -> None:
    """Write DATA with other wordings of its questions, asked of a server or from templates."""
    from vantage.rewriting import report, run
    from vantage.rewriting import template as templates

    rewriter: Any
    if template or wordings:
        rewriter = templates.load(wordings) if wordings else templates.FAMILIES
    else:
        if not base_url or not model:
            raise ConfigError("expected --base-url and --model of a server, or --template")
        rewriter = _server(base_url, model, temperature, timeout, retries, requests_per_minute)
    try:
        with report.progress() as watch:
            summary = run.expand(
                data,
                out,
                variants=variants,
                rewriter=rewriter,
                split=split,
                columns=named(question=question, answer=answer, image=image, images=images),
                with_pictures=with_image,
                judge=judge,
                concurrency=concurrency,
                journal=journal,
                watch=watch,
            )
    except KeyboardInterrupt:
        console.print("stopped; rerun the command to resume")
        raise typer.Exit(INTERRUPTED) from None
    console.print(report.table(summary))
    if remark := report.remark(summary):
        console.print(remark, soft_wrap=True)
    console.print(f"written to {out!s}", soft_wrap=True)
    if not summary.accepted:
        raise typer.Exit(1)


def _left_out(record: Record) -> None:
    for place in record.foreign:
        line = f"{str(place)!a} is no batch of the record: left out"
        console.print(line, soft_wrap=True)


def _server(
    base_url: str,
    model: str,
    temperature: float,
    timeout: float,
    retries: int,
    per_minute: float | None,
) -> Any:
    from vantage.chat.server import Settings, key

    return Settings(base_url, model, key(), temperature, timeout, retries, per_minute)


def named(**columns: str | None) -> Columns:
    """The columns that were named on the command line; the layout of the data says the others."""
    from vantage.questions.layouts import Columns

    return Columns(**{kind: name for kind, name in columns.items() if name is not None})


def settings_of(words: list[str]) -> dict[str, Any]:
    """`name=value` each, the value as in YAML.

    Raises:
        ConfigError: something else.
    """
    from vantage.yaml_values import value_of

    found: dict[str, Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not given or not name.isidentifier():
            raise ConfigError(f"--set {word!r}: expected name=value")
        found[name] = value_of(value, f"--set {name}")
    return found


def overrides(arguments: list[str]) -> dict[str, str]:
    """`--section.option value` and `--section.option=value` as a mapping; the last one counts.

    Raises:
        ConfigError: something that is neither.
    """
    found: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, given, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not (given or waiting):
            raise ConfigError(f"{word!r}: expected --section.option value")
        found[name] = value if given else waiting.pop(0)
    return found


def main() -> None:
    """Run the command line; errors of the user are told without a traceback."""
    install()
    # Of engines about each other's options: nothing that a user can act on.
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        _complain(f"{error.name} is missing: pip install -e '.[{extra}]'")
    except VantageError as error:
        _complain(str(error))
    except OSError as error:
        if error.errno not in files.OF_DISK:
            raise
        where = repr(error.filename) if error.filename else "a file"
        _complain(f"{where}: {files.reason(error)}")


def _complain(message: str) -> None:
    words = message if len(message) <= LONGEST else f"{message[:LONGEST]} [...]"
    Console(stderr=True).print(Text.assemble(("error:", "red"), " ", shown(words)), soft_wrap=True)
    sys.exit(2)
