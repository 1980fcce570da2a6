"""Untrusted text is printed literally, and affects neither a terminal nor a table."""

import csv
import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vantage.evaluation.naming import written as in_markdown
from vantage.evaluation.table import _no_formula
from vantage.terminal import Console, line, named, shown

# What is written, and what is seen of it.
TEXTS = {
    "plain": ("a [red]b[/red] \\ c\n\td", "a [red]b[/red] \\ c\n\td"),
    "letters": ("Ärger 数学 ∑ 😀 é", "Ärger 数学 ∑ 😀 é"),
    "a colour": ("a\x1b[31mb", "a\\x1b[31mb"),
    "a title": ("\x1b]0;mine\x07", "\\x1b]0;mine\\x07"),
    "a link": ("\x1b]8;;http://x\x1b\\b", "\\x1b]8;;http://x\\x1b\\b"),
    "the other escape": ("\x9b31m\x85\x90", "\\x9b31m\\x85\\x90"),
    "over the line": ("good\rbad\b\b", "good\\rbad\\x08\\x08"),
    "bells and feeds": ("\x00\x07\x0b\x0c\x7f", "\\x00\\x07\\x0b\\x0c\\x7f"),
    "turned": ("\u202etxt.exe\u2066\u200f\u061c", "\\u202etxt.exe\\u2066\\u200f\\u061c"),
    "no width": ("a\u200b\u200d\ufeff\u2060\u00ad", "a\\u200b\\u200d\\ufeff\\u2060\\xad"),
    "lines": ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
    "halves": ("\ud800\udfff", "\\ud800\\udfff"),
    "tags": ("\U000e0041\U000e0001", "\\U000e0041\\U000e0001"),
    "no characters": ("\ufffe\U0010ffff\ue000", "\\ufffe\\U0010ffff\\ue000"),
    "fillers": ("\u3164\u115f\u2800\ufe0f\u034f", "\\u3164\\u115f\\u2800\\ufe0f\\u034f"),
    "marked": ("[bold]a[/] [link=http://x]b[/link] :smile: [@click=f]", None),
    "half marked": ("[/red] [red", None),
}
NASTY = "".join(text for text, _ in TEXTS.values() if text.isprintable() is False)
EACH = pytest.mark.parametrize("name", TEXTS)


def unseen(text: str) -> list[str]:
    """Characters that act on a terminal."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return [one for one in text if unicodedata.category(one) in kinds and one not in "\n\t"]


@EACH
def test_invisible_characters_are_escaped(name):
    text, seen = TEXTS[name]
    assert shown(text) == (text if seen is None else seen)
    assert shown(shown(text)) == shown(text)
    assert not unseen(shown(text))


def test_every_character_is_visible_or_escaped():
    every = "".join(map(chr, (*range(0x3400), *range(0xD7F0, 0x10010), *range(0xE0000, 0xE0200))))
    assert not unseen(shown(every))
    assert not unseen(named(every))
    assert named("a\u202eb\x1b") == "a[U+202E]b[U+001B]"
    assert line("a\nb\tc\x1b") == "a\\nb c\\x1b"


WAYS = {
    "a text": lambda text: text,
    "a made text": Text,
    "a cell": lambda text: _table(text),
    "a heading": lambda text: Table(text),
    "a caption": lambda text: Table("a", title=text, caption=text),
    "a panel": lambda text: Panel(text, title=Text(text)),
}


def _table(text: str) -> Table:
    made = Table("a")
    made.add_row(text)
    return made


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@EACH
def test_printed_text_never_controls_the_terminal(name, way):
    text, seen = TEXTS[name]
    stream = io.StringIO()
    Console(file=stream, width=300).print(way(text))
    assert not unseen(stream.getvalue())
    if "\n" not in text and way not in (WAYS["a made text"], WAYS["a caption"]):
        assert (text if seen is None else seen) in stream.getvalue()


def test_tables_with_invisible_characters_keep_their_width():
    made = Table("a")
    for text in ("\x1b[31mred", "plain", "\u200b\u200b"):
        made.add_row(text)
    stream = io.StringIO()
    Console(file=stream, width=80).print(made)
    assert len({len(row) for row in stream.getvalue().splitlines()}) == 1


PROGRAM = """
import logging, sys
from vantage.terminal import install
install()
text = {text!r}
print(text.encode("utf-8", "surrogatepass") and "ready")
logging.getLogger("vantage.questions").warning("see %s", text)
raise ValueError(text)
"""


def test_logs_and_uncaught_errors_are_escaped():
    program = PROGRAM.format(text=NASTY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    told = done.stderr.decode("utf-8")
    assert done.returncode == 1
    assert not unseen(told)
    assert "see good\\rbad" in told or "\\x1b[31m" in told
    assert "ValueError: " in told


def test_unencodable_characters_are_escaped():
    program = "from vantage.terminal import install; install(); print('数', '\\ud800')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout == "\\u6570 \\ud800\n"


BAD = {
    "a name of a file": lambda folder: written(folder / f"{safe(NASTY)}.jsonl", {"prompt": "a"}),
    "a name of a column": lambda folder: written(folder / "a.jsonl", {NASTY: "a", "b": "c"}),
    "a question": lambda folder: written(folder / "a.jsonl", {"prompt": NASTY, "answer": 3}),
    "an answer": lambda folder: written(folder / "a.jsonl", {"prompt": "a", "answer": [NASTY]}),
    "a picture": lambda folder: written(folder / "a.jsonl", {"problem": "a", "image": NASTY}),
    "no row": lambda folder: written(folder / "a.jsonl", NASTY),
    "a role": lambda folder: written(
        folder / "a.jsonl", {"prompt": [{"role": NASTY, "content": NASTY}], "answer": "1"}
    ),
}


def safe(text: str) -> str:
    return text.replace("/", "").replace("\0", "").encode("utf-8", "ignore").decode()[:60]


def written(place: Path, row) -> Path:
    place.write_text(json.dumps(row) + "\n")
    return place


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_hostile_data_is_escaped_in_messages(vantage, tiny_model, tmp_path, data):
    status, out, err = vantage("check", data(tmp_path), "--model", tiny_model)
    assert status in (0, 1, 2)
    assert not unseen(out.replace("\x1b[2K", "")), unseen(out)
    assert not [one for one in unseen(err) if one not in "\r\x1b"]  # of progress bars


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{0}.yaml"],
        ["train", "{0}"],
        ["check", "{0}.parquet", "--model", "{0}"],
        ["eval", "{0}", "{0}=x"],
        ["replay", "{0}", "--recipe", "{0}"],
        ["replay", "{0}", "--recipe", "grpo", "--set", "{0}=1"],
        ["report", "{0}"],
        ["expand", "{0}", "--output", "{0}.parquet", "--rewrites", "1", "--built-in"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_hostile_arguments_are_escaped_in_messages(vantage, arguments):
    status, out, err = vantage(*(one.format(safe(NASTY)) for one in arguments))
    assert status == 2
    assert not unseen(out + err)


FORMULAS = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "\n=1", "＝1", "\u200b=1", "%0a=1"]  # noqa: RUF001


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_starts_a_formula(text):
    told = _no_formula(text)
    stream = io.StringIO()
    csv.writer(stream).writerow([told])
    assert told.startswith(("'", "\\"))
    assert stream.getvalue().lstrip('"')[0] in "'\\"


@pytest.mark.parametrize("text", ["Qwen/Qwen2.5-VL", "a=b", "(x) y", "7b", "模型"])
def test_ordinary_names_are_unchanged(text):
    assert _no_formula(text) == in_markdown(text) == text


MARKDOWN = {
    "a | b": "a \\| b",
    "a\nb": "a b",
    "<img src=http://x>": "\\<img src=http://x>",
    "</td>": "\\</td>",
    "![a](http://x)": "![a]\\(http://x)",
    "\x1b[31m\u202e": "\\x1b[31m\\u202e",
    "a < b, c<1": "a < b, c<1",
}


@pytest.mark.parametrize(("text", "told"), MARKDOWN.items())
def test_markdown_cells_have_no_tags_or_images(text, told):
    assert in_markdown(text) == told
