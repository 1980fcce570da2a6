"""Messages and pages name only options that their command has."""

import ast
import re
from pathlib import Path

import pytest
import typer

from vantage.cli import application
from vantage.config import Config, describe

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "vantage"
NAMED = re.compile(r"(?<![\w/-])--([a-z][\w.-]*[a-z_])")
COMMANDS = typer.main.get_command(application.app).commands
OPTIONS = {
    name: {
        flag.removeprefix("--")
        for one in command.params
        for flag in [*one.opts, *one.secondary_opts]
    }
    for name, command in COMMANDS.items()
}
SECTIONS = {name for name, *_ in describe(Config)} | {"recipe", "rewards"}
# Whose messages a directory or a file has, the closest first; what several share names none.
SPEAKS_OF = {
    "evaluation": {"eval"},
    "rewriting": {"expand"},
    "training": {"train"},
    "checking": {"check"},
    "config.py": {"train", "check"},
    "record": {"replay", "report"},
    "report": {"replay", "report"},
    "demo": {"demo"},
    "cli": set(COMMANDS),
}
# Of accelerate, which starts `vantage train`; and what stands for any option of the file.
OF_OTHERS = {"mixed_precision", "section.option"}


def of_command(name: str, option: str) -> bool:
    """Whether a command has an option; `train` and `check` take those of the file too."""
    in_file = option in SECTIONS or option.partition(".")[0] in {"trl", "verl"}
    return option in OPTIONS[name] or (name in ("train", "check") and in_file)


def messages(path: Path) -> list[str]:
    """The texts of a module that are no documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [node.value for node in texts if id(node) not in documented]


def named_in(path: Path) -> list[str]:
    return [name for text in messages(path) for name in NAMED.findall(text)]


def test_messages_name_existing_options():
    seen = 0
    for path in sorted({*SOURCE.rglob("*.py")} - {SOURCE / "renamed.py"}):
        inner = path.relative_to(SOURCE).as_posix()
        places = [place for place in SPEAKS_OF if inner.startswith(place)]
        commands = SPEAKS_OF[max(places, key=len)] if places else set()
        for option in named_in(path):
            seen += 1
            known = option in OF_OTHERS or any(of_command(name, option) for name in commands)
            assert known, f"{inner} names --{option}, which {sorted(commands)} have not"
    assert seen > 8


# Pages about one command, whose options their text names.
OF_PAGE = {"evaluate.md": {"eval"}, "expand.md": {"expand"}, "check.md": {"check", "train"}}


@pytest.mark.parametrize("page", OF_PAGE)
def test_pages_name_existing_options(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for option in re.findall(r"`--([a-z][\w-]*)", text):
        assert any(of_command(name, option) for name in OF_PAGE[page]), f"--{option}"
