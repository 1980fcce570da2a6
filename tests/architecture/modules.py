"""The modules of a package and what they import, read from their sources; nothing is run.

Lazy imports count, and so do those for type checkers and those by a name in a text
(`import_module(f"vantage.training.{engine}.resolving")`). That Python also runs the packages above
a module does not count: a package may import what is in it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "src/vantage"


class Import(NamedTuple):
    """A name that a module imports: a module, or a name in one (`vantage.errors.ConfigError`)."""

    name: str
    line: int


@dataclass(frozen=True)
class Module:
    """A module.

    Attributes:
        name: with dots; a package's is that of its directory.
        path: below the root of the repository.
        text: its source.
    """

    name: str
    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> list[Import]:
        """What it imports, in the order of `ast.walk`."""
        found: list[Import] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [Import(one.name, node.lineno) for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                start = self._start(node)
                found += [Import(f"{start}.{one.name}", node.lineno) for one in node.names]
        return found + list(self._named())

    def _start(self, node: ast.ImportFrom) -> str:
        """The module of `from module import name`, its dots resolved."""
        if not node.level:
            return node.module or ""
        is_package = self.path.endswith("/__init__.py")
        parts = self.name.split(".")
        above = parts[: len(parts) - node.level + is_package]
        return ".".join([*above, *filter(None, [node.module])])

    def _named(self) -> Iterator[Import]:
        """Modules in texts of one that calls `import_module`, `*` where a text has a gap."""
        if "import_module(" not in self.text:
            return
        for node in ast.walk(self.tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [part.value if isinstance(part, ast.Constant) else "*" for part in parts]
            if isinstance(node, ast.JoinedStr | ast.Constant) and all(
                isinstance(text, str) for text in texts
            ):
                name = "".join(texts)
                if name.startswith("vantage.") and " " not in name:
                    yield Import(name, node.lineno)


Modules = dict[str, Module]


def read(sources: Mapping[str, str]) -> Modules:
    """The modules of sources, by name.

    Args:
        sources: path below the root of the repository -> text.
    """
    found = {}
    for path, text in sources.items():
        name = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__")
        name = name.replace("/", ".")
        found[name] = Module(name, path, text)
    return found


def working_tree(root: Path = ROOT) -> dict[str, str]:
    """Sources of the package in the working tree."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((root / PACKAGE).rglob("*.py"))
    }


def graph(modules: Modules) -> dict[str, set[str]]:
    """Which modules of the package each of them imports."""
    return {
        name: {
            target
            for found in module.imports()
            for target in _targets(found.name, modules)
            if target != name
        }
        for name, module in modules.items()
    }


def _targets(name: str, modules: Modules) -> list[str]:
    """The modules that an imported name leads to: itself, or the one that it is a name in."""
    if "*" in name:
        return [known for known in modules if fnmatchcase(known, name)]
    above = name.rpartition(".")[0]
    return [known for known in (name, above) if known in modules][:1]


def reached(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    """The modules that one imports, those that they import, and so on."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or through others: a sorted list for each circle."""
    behind = {name: reached(name, edges) for name in edges}
    found = {
        tuple(sorted(other for other in behind[name] if name in behind[other]))
        for name in edges
        if name in behind[name]
    }
    return [list(circle) for circle in sorted(found)]
