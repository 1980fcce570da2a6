"""Prints what the sources of the package measure, side by side for several revisions.

    python tests/architecture/measure.py                # the working tree
    python tests/architecture/measure.py v0.1 main .    # a dot is the working tree

Lines are all lines of a file. A function counts from its `def` to its last line. Comments are those
for people: no `noqa` and no `type: ignore`. An attribute is born late where a method of a class
in a `trainer.py` assigns `self.name` and the `__init__` of the class does not.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import subprocess
import tarfile
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from modules import PACKAGE, ROOT, Modules, circles, graph, read, working_tree

HERE = "."
ENGINES = ("trl", "verl")
FOR_TOOLS = re.compile(r"#\s*(noqa|type:|ruff:|isort:)")


def sources(revision: str) -> dict[str, str]:
    """Sources of the package in a git revision, or in the working tree."""
    if revision == HERE:
        return working_tree()
    command = ["git", "archive", "--format=tar", revision, PACKAGE]
    packed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if packed.returncode:  # git said why
        raise SystemExit(packed.returncode)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        return {
            member.name: archive.extractfile(member).read().decode("utf-8")
            for member in archive
            if member.isfile() and member.name.endswith(".py")
        }


def numbers(modules: Modules) -> dict[str, str]:
    """Measures of a revision by their label in the table."""
    lines = {module.path: module.text.count("\n") for module in modules.values()}
    total, rooms = sum(lines.values()), _rooms(lines)
    trainers = {engine: _below(lines, f"training/{engine}/trainer.py") for engine in ENGINES}
    engines = {engine: _below(lines, f"training/{engine}/") for engine in ENGINES}
    lengths = sorted(length for module in modules.values() for length in functions(module.tree))
    spread = (statistics.median(lengths), lengths[len(lengths) * 9 // 10], lengths[-1])
    comments = sum(comments_in(module.text) for module in modules.values())
    return {
        **{f"lines of {room}": f"{count:,}" for room, count in rooms.items()},
        "lines of all": f"{total:,}",
        "lines shared by both engines": f"{rooms['training/'] - sum(engines.values()):,}",
        **{f"lines of {engine} alone": f"{count:,}" for engine, count in engines.items()},
        **{f"lines of {engine}/trainer.py": f"{count:,}" for engine, count in trainers.items()},
        "functions": f"{len(lengths):,}",
        "lines of a function: median, p90, longest": " / ".join(f"{one:.0f}" for one in spread),
        "comments in 1,000 lines": f"{1000 * comments / total:.1f}",
    } | {words: str(len(names)) for words, names in named(modules).items()}


def named(modules: Modules) -> dict[str, list[str]]:
    """Names of unwanted things by their label in the table."""
    rounds = circles(graph(modules))
    return {
        **{
            f"attributes born late in {engine}/trainer.py": late_attributes_of(modules, engine)
            for engine in ENGINES
        },
        "import circles": [
            " + ".join(name.removeprefix("vantage.") for name in circle) for circle in rounds
        ],
    }


def _rooms(lines: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for path, count in sorted(lines.items()):
        room, inside, _ = path.removeprefix(f"{PACKAGE}/").partition("/")
        found[f"{room}/" if inside else "files beside the rooms"] += count
    return found


def _below(lines: Mapping[str, int], start: str) -> int:
    return sum(count for path, count in lines.items() if path.startswith(f"{PACKAGE}/{start}"))


def functions(tree: ast.AST) -> list[int]:
    """The lines of each function and method."""
    return [
        node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def comments_in(text: str) -> int:
    """Number of comments in a source, without those for tools."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(
        token.type == tokenize.COMMENT and not FOR_TOOLS.match(token.string) for token in tokens
    )


def late_attributes_of(modules: Modules, engine: str) -> list[str]:
    """Attributes of an engine's trainer that are first set outside `__init__`."""
    module = modules.get(f"vantage.training.{engine}.trainer")
    statements = module.tree.body if module else []
    classes = [one for one in statements if isinstance(one, ast.ClassDef)]
    return [name for one in classes for name in late_attributes(one)]


def late_attributes(class_: ast.ClassDef) -> list[str]:
    """Attributes that a method assigns and `__init__` does not, each once.

    An annotation in the class declares an attribute that the base class creates.
    """
    methods = [n for n in class_.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    born = {name for one in methods if one.name == "__init__" for name in assigned(one)}
    declared = [n.target for n in class_.body if isinstance(n, ast.AnnAssign)]
    born |= {target.id for target in declared if isinstance(target, ast.Name)}
    late = [name for one in methods if one.name != "__init__" for name in assigned(one)]
    return [name for name in dict.fromkeys(late) if name not in born]


def assigned(method: ast.AST) -> Iterator[str]:
    """Names that a method assigns on `self`, also in a tuple, a loop or a `with`."""
    for node in ast.walk(method):
        is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_set and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node.attr


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Revisions side by side as a Markdown table, with the rooms first."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    names.sort(key=lambda name: name if name.endswith("/") else "~")
    rows = [["", *columns], ["---", *("---:" for _ in columns)]]
    rows += [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the sources of the package.")
    parser.add_argument("revisions", nargs="*", default=[HERE], help="Of git; . for here.")
    given = parser.parse_args(arguments).revisions
    seen = {revision: read(sources(revision)) for revision in given}
    print(table({revision: numbers(modules) for revision, modules in seen.items()}))
    for revision, modules in seen.items():
        for words, names in named(modules).items():
            if names:
                print(f"\n{revision}, {words}: {', '.join(names)}")


if __name__ == "__main__":
    main()
