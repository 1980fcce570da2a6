"""Prints untrusted text: escapes invisible characters, so that none controls the terminal."""

from __future__ import annotations

import functools
import logging
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment
from rich.text import Text

# Unicode categories: control, format, unassigned, private use, surrogate, line and paragraph
# separators.
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
# Letters and marks without a glyph, which make different names look the same: fillers of Hangul,
# Khmer and braille, the grapheme joiner, and variation selectors.
BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
KEPT = "\n\t"
PLAIN = re.compile(r"[\n\t -~]*\Z")
LONGEST = 100_000  # characters of an error message


def shown(text: str) -> str:
    r"""Escape invisible characters as in Python, such as `\x1b` or `\u202e`.

    Line breaks and tabs are kept.
    """
    if PLAIN.match(text):
        return text
    return "".join(map(_shown, text))


def line(text: str) -> str:
    """Escape a text like `shown`, and put it on one line."""
    return shown(text).replace("\n", "\\n").replace("\t", " ")


def named(text: str) -> str:
    """Replace invisible characters with their code points, as in a report: `[U+202E]`."""
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
    """Prints text literally, without markup and emoji codes, and escapes invisible characters."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape before rich measures the width of a table cell."""
        return super().render_str(shown(text), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Escape text that did not pass through `render_str`."""
        return map(_segment, super().render(renderable, options))


def _segment(found: Segment) -> Segment:
    if found.control or PLAIN.match(found.text):
        return found
    return Segment(shown(found.text), found.style)


def install() -> None:
    """Escape vantage's logs, uncaught tracebacks, and characters the terminal cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.setLogRecordFactory(_Record)
    sys.excepthook = _print_traceback


class _Record(logging.LogRecord):
    """A log record whose message is escaped if its logger is one of vantage's."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        if self.name.partition(".")[0] == "vantage":
            self.msg, self.args = shown(self.getMessage()), None


def _print_traceback(*raised: Any) -> None:
    print(shown("".join(traceback.format_exception(*raised))), file=sys.stderr, end="")
