"""The typer application, its console, and how errors are printed and set the exit status."""

from __future__ import annotations

import functools
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperCommand

from vantage import files
from vantage.errors import ConfigError, VantageError
from vantage.renamed import FLAGS
from vantage.terminal import LONGEST, Console, install, shown

app = typer.Typer(
    help="Reinforcement learning of vision-language models that uses every rollout.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

# The extra of vantage-rl that installs each optional package.
EXTRAS = {
    **dict.fromkeys(("torch", "trl", "transformers", "datasets", "peft", "packaging"), "trl"),
    "sklearn": "demo",
    **dict.fromkeys(("jinja2", "matplotlib", "pyarrow"), "report"),
    **dict.fromkeys(("httpx2", "tenacity"), "judge"),
    **dict.fromkeys(("verl", "ray", "hydra", "omegaconf", "tensordict", "transfer_queue"), "verl"),
}

OPTIONS_OF_THE_FILE = {"allow_extra_args": True, "ignore_unknown_options": True}

# Arguments and options that may name a path or something else, such as a model on the hub.
PLACES = ("data", "model", "recipe", "test")


class Command(TyperCommand):
    """A command that rejects non-finite numbers and expands ~ in paths."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; an old option name is an error that gives the new one."""
        for word in args:
            name = word.partition("=")[0]
            if new := FLAGS.get(self.name or "", {}).get(name):
                raise ConfigError(f"{name}: renamed to {new}")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command with checked and expanded parameters."""
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

# Exit status after Ctrl-C, by shell convention.
INTERRUPTED = 130


@contextmanager
def resumable() -> Iterator[None]:
    """On Ctrl-C, print how to resume, and exit with the status of an interrupt."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped; rerun the command to resume")
        raise typer.Exit(INTERRUPTED) from None


def main() -> None:
    """Run the command line; print errors that a user can cause without a traceback."""
    install()
    # Engines warn about each other's options; a user can do nothing about these warnings.
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        _complain(f"{error.name} is missing: pip install 'vantage-rl[{extra}]'")
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
