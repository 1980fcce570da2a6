"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vantage.errors import ConfigError, VantageError

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
    **dict.fromkeys(("sklearn", "matplotlib"), "demo"),
}

OPTIONS_OF_THE_FILE = {"allow_extra_args": True, "ignore_unknown_options": True}

INTERRUPTED = 130  # as shells have it after Ctrl-C


@app.command(context_settings=OPTIONS_OF_THE_FILE)
def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML file; see recipes/ for some to copy.")],
    resume: Annotated[bool, typer.Option(help="Go on from the last whole checkpoint.")] = False,
) -> None:
    """Train as CONFIG says. `vantage options` can be given: --optimizer.learning_rate 1e-5"""
    from vantage import config as configuration

    settings = configuration.load(config, overrides(context.args))
    from vantage.training import run

    state = run.train(settings, resume=resume).state
    console.print(f"model saved in {escape(settings.run.output)}/model", soft_wrap=True)
    if state.global_step < state.max_steps:
        done = f"stopped after update {state.global_step} of {state.max_steps}"
        console.print(f"{done}; the same command with --resume goes on", soft_wrap=True)
        raise typer.Exit(INTERRUPTED)


@app.command()
def options() -> None:
    """The options of a configuration file, with their types and defaults."""
    from vantage.config import Config, describe

    table = Table("option", "type", "default")
    for name, kind, default in describe(Config):
        table.add_row(name, escape(kind), escape(default))
    console.print(table)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="Directory or name on the hub.")],
    data: Annotated[str, typer.Argument(help="File, directory or name on the hub.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    question: Annotated[str, typer.Option(help="Column with the question.")] = "prompt",
    answer: Annotated[str, typer.Option(help="Column with the reference answer.")] = "answer",
    image: Annotated[str | None, typer.Option(help="Column with one picture.")] = None,
    images: Annotated[str | None, typer.Option(help="Column with a list of pictures.")] = None,
    template: Annotated[str | None, typer.Option(help="Text around {question}.")] = None,
    system_prompt: Annotated[str | None, typer.Option(help="System message.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Responses a question.")] = 8,
    temperature: Annotated[float, typer.Option(min=0.01, help="Of the sampling.")] = 0.5,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest response.")] = 2048,
    batch: Annotated[int, typer.Option(min=1, help="Prompts generated together.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    output: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Accuracy and pass@k of MODEL on DATA, with 95 % intervals."""
    from vantage.config import INSTRUCTION
    from vantage.evaluation import run
    from vantage.questions.loading import load

    rows = load(data, split=split, question=question, answer=answer, image=image, images=images)
    result = run.evaluate(
        model,
        rows,
        template=template or INSTRUCTION,
        system_prompt=system_prompt,
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens,
        batch=batch,
        seed=seed,
    )
    table = Table("measure", "value", "95 % interval")
    for name, estimate in result.items():
        low, high = estimate.interval
        table.add_row(name, f"{estimate.mean:.3f}", f"{low:.3f} to {high:.3f}")
    console.print(table)
    if output is not None:
        values = {name: estimate._asdict() for name, estimate in result.items()}
        output.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


@app.command()
def recipes() -> None:
    """The recipes there are, with their papers and options."""
    from vantage.methods import RECIPES

    table = Table("recipe", "options", "what it does")
    for name, factory in RECIPES.items():
        parameters = inspect.signature(factory).parameters.values()
        options = ", ".join(f"{p.name}={p.default}" for p in parameters)
        summary = " ".join((inspect.getdoc(factory) or "").split())
        table.add_row(name, escape(options), escape(summary))
    console.print(table)


@app.command()
def demo(
    recipes: Annotated[
        str, typer.Option(help="Recipes to compare, with commas between.")
    ] = "grpo,shuffle-r1,share-grpo,share-shuffle",
    output: Annotated[Path, typer.Option(help="Directory for the runs.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0,
) -> None:
    """Teach a tiny vision-language model to add handwritten digits, under several recipes."""
    from vantage.demo import run

    run.demo([name.strip() for name in recipes.split(",")], output, seed=seed)


def overrides(arguments: list[str]) -> dict[str, str]:
    """`--section.option value` and `--section.option=value` as a mapping.

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


def _complain(message: str) -> None:
    Console(stderr=True).print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    sys.exit(2)
