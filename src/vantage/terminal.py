"""Printing texts of others: invisible characters are escaped, so that none acts on a terminal."""

from __future__ import annotations

import functools
import logging
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import rich.console
from rich.segment import Segment
from rich.text import Text

# Unicode categories: control, format, unassigned, private use, surrogates, separators of lines.
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
# Letters and marks without a glyph, with which two different names look the same: fillers of
# Hangul, Khmer and braille, the grapheme joiner, and variation selectors.
BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
KEPT = "\n\t"
PLAIN = re.compile(r"[\n\t -~]*\Z")
LONGEST = 100_000  # characters of an error


def shown(text: str) -> str:
    r"""A text with invisible characters escaped as in Python, `\x1b` or `\u202e`.

    Line breaks and tabs stay.
    """
    if PLAIN.match(text):
        return text
    return "".join(map(_shown, text))


def line(text: str) -> str:
    """A text as one line; see `shown`."""
    return shown(text).replace("\n", "\\n").replace("\t", " ")


def named(text: str) -> str:
    """A text with invisible characters named as on the page of a report, `[U+202E]`."""
    if PLAIN.match(text):
        return text
    return "".join(f"[U+{ord(one):04X}]" if _is_unseen(one) else one for one in text)


@functools.lru_cache(maxsize=10_000)
def _shown(character: str) -> str:
    return character.encode("unicode_escape").decode() if _is_unseen(character) else character


def _is_unseen(character: str) -> bool:
    unseen = unicodedata.category(character) in UNSEEN or character in BLANK
    return unseen and character not in KEPT


class Console(rich.console.Console):
    """Prints texts literally: without markup and emoji codes, invisible characters escaped."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape before the width of a cell is measured."""
        return super().render_str(shown(text), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Escape what was rendered elsewhere."""
        return map(_segment, super().render(renderable, options))


def _segment(found: Segment) -> Segment:
    if found.control or PLAIN.match(found.text):
        return found
    return Segment(shown(found.text), found.style)


def install() -> None:
    """Escape our logs, uncaught tracebacks, and characters that the terminal cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.setLogRecordFactory(_Record)
    sys.excepthook = lambda *raised: print("".join(_traceback(*raised)), file=sys.stderr, end="")


class _Record(logging.LogRecord):
    """A record of a log; those of vantage are escaped."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        if self.name.partition(".")[0] == "vantage":
            self.msg, self.args = shown(self.getMessage()), None


def _traceback(*raised: Any) -> Iterator[str]:
    return map(shown, traceback.format_exception(*raised))
