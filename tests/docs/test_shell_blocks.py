"""Check shell blocks: arguments of vantage commands, make targets, scripts and extras exist.

Cheap commands also run.
"""

import re
import shlex
import tomllib
from typing import NamedTuple

import blocks
import pytest
import typer

from vantage import config as configuration
from vantage.cli import application
from vantage.cli.overrides import overrides

SHELL = [*blocks.blocks("bash", "sh", ""), *blocks.indented()]
COMMANDS = typer.main.get_command(application.app).commands
PROJECT = tomllib.loads((blocks.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Placeholders for a file of the reader.
OF_THE_READER = {"CONFIG.yaml", "RECIPE.yaml", "/shared/CONFIG.yaml"}
CHEAP = {"recipes", "options", "report", "replay"}
ANY_CONFIGURATION = "recipes/digits.yaml"
# Programs that the tests cannot run, by page, with the reason. Their lines are not checked.
CONTAINERS, CLUSTER, SERVER = "needs a container engine", "needs a Ray cluster", "needs a GPU"
NOT_RUN = {
    ("docs/scale.md", "docker"): CONTAINERS,
    ("docs/scale.md", "vllm"): SERVER,
    ("docs/evaluate.md", "vllm"): SERVER,
    ("docs/expand.md", "vllm"): SERVER,
    ("docs/verl.md", "ray"): CLUSTER,
    ("docs/verl.md", "source"): CLUSTER,
    ("docs/verl.md", "head"): CLUSTER,
    ("docs/verl.md", "srun"): CLUSTER,
    ("docs/verl.md", "sleep"): CLUSTER,
    ("docs/from-trl.md", "git"): "needs a network",
    ("benchmarks/gpu/README.md", "cat"): "needs files on a machine without a network",
}


class Line(NamedTuple):
    """A command of a page: its program and arguments."""

    page: str
    program: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.page, self.program, *self.words))


def commands(block: blocks.Block) -> list[str]:
    """The commands of a block; in blocks without a language, only those of vantage."""
    text = block.text.replace("\\\n", " ")
    if block.language:
        return text.splitlines()
    found = re.findall(r"^(?:\$|   ) (vantage .*)$", text, flags=re.MULTILINE)
    # Brackets mark optional arguments.
    return [line.replace("[", "").replace("]", "") for line in found]


def lines() -> list[Line]:
    found = []
    for block in SHELL:
        for command in commands(block):
            words = shlex.split(command, comments=True)
            if words:
                found.append(line_of(block.page, words))
    return found


def line_of(page: str, words: list[str]) -> Line:
    """Parse a command; skip leading variables and launchers of vantage such as docker."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if "vantage" in words:
        words = words[words.index("vantage") :]
    program = words[0].partition("=")[0]
    return Line(page, program, tuple(words[1:]))


LINES = lines()


def of(program: str) -> list[Line]:
    return list(dict.fromkeys(line for line in LINES if line.program == program))


def test_languages_of_blocks_are_known():
    fences = [(blocks.ROOT / page).read_text(encoding="utf-8") for page in blocks.PAGES]
    languages = re.findall(r"^ *```(\w+)", "\n".join(fences), flags=re.MULTILINE)
    assert set(languages) == {"bash", "sh", "python", "yaml"}


def test_programs_are_known_and_exceptions_are_still_on_their_pages():
    others = {(line.page, line.program) for line in LINES}
    others = {pair for pair in others if pair[1] not in ("vantage", "make", "python", "pip")}
    assert others == set(NOT_RUN)


@pytest.mark.parametrize("line", of("vantage"), ids=str)
def test_vantage_accepts_the_arguments(line):
    name, *words = line.words
    context = COMMANDS[name].make_context(name, list(words))
    if name in ("train", "check"):
        file = str(context.params.get("config") or context.params["data"])
        file = ANY_CONFIGURATION if file in OF_THE_READER else file
        if file.endswith(".yaml"):
            given = [word for word in context.args if word not in ("--section.option", "value")]
            configuration.load(blocks.ROOT / file, overrides(given))


@pytest.mark.parametrize("line", of("make"), ids=str)
def test_make_target_exists(line):
    makefile = (blocks.ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{line.words[0]}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("line", of("pip"), ids=str)
def test_extras_of_pip_install_exist(line):
    assert line.words[0] == "install"
    for package, extras in re.findall(r"(\.|vantage-rl)\[([\w,-]+)\]", " ".join(line.words)):
        assert package and set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_files_of_the_repository_exist():
    texts = "\n".join(block.text for block in SHELL)
    files = set(re.findall(r"(?<![\w/])(?:benchmarks|docker|recipes)/[\w./-]+\w", texts))
    assert len(files) > 8
    assert not [file for file in files if not (blocks.ROOT / file).exists()]


def is_cheap(line: Line) -> bool:
    return line.words[0] in CHEAP or line.words[:2] == ("check", "data.parquet")


@pytest.mark.parametrize("line", filter(is_cheap, of("vantage")), ids=str)
def test_cheap_commands_run(line, page_directory, vantage):
    status, out, _ = vantage(*line.words)
    assert status == 0 and out
