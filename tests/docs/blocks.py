"""Code blocks of README, CONTRIBUTING and the pages in `docs/`."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/gpu/README.md"]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+", flags=re.MULTILINE)


class Block(NamedTuple):
    """A code block of a page; lists of blocks identify it by its first line."""

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks in some languages, in order; "" means a fence without a language."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for fence in FENCED.finditer(text):
            if fence[1] in languages:
                line = text[: fence.start()].count("\n") + 2
                found.append(Block(page, line, fence[1], fence[2]))
    return found


def indented() -> list[Block]:
    """All indented blocks."""
    found = []
    for page in PAGES:
        text = FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
        found += [Block(page, 0, "", match[0]) for match in INDENTED.finditer(text)]
    return found


def name_of(block: Block) -> str:
    """The id of a block in parametrized tests."""
    return f"{block.page}:{block.line}"
