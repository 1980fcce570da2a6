"""Untrusted YAML is read as plain values in bounded time, or an error names its file."""

import itertools
import os
from pathlib import Path

import pytest

from vantage.errors import ConfigError
from vantage.yaml_values import CHARACTERS, read, text_of, value_of


def bomb(levels: int) -> str:
    lists = (", ".join([f"*a{level - 1}"] * 9) if level else "x" for level in range(levels))
    return "\n".join(f"a{level}: &a{level} [{inside}]" for level, inside in enumerate(lists))


def merged(levels: int) -> str:
    lines = ["a: &a {x: 1}"]
    for before, name in itertools.pairwise("abcdefghijklmnop"[: levels + 1]):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}")
    return "\n".join(lines)


LEVELS, VALUES, TAG = "more than 50 levels", "more than 20000 values", "constructor for the tag"
REFUSED = {
    "a bomb": (bomb(12), VALUES),
    "a large bomb": (bomb(99), VALUES),
    "a bomb of merges": (merged(12), VALUES),
    "a list in itself": ("a: &a [*a]", LEVELS),
    "a mapping in itself": ("a: &a {b: *a}", LEVELS),
    "a merge of itself": ("a: &a {<<: *a}", LEVELS),
    "a key of itself": ("? &a {*a : 1}\n: 2", LEVELS),
    "5,000 levels": ("[" * 5_000 + "]" * 5_000, LEVELS),
    "levels without an end": ("[" * 400_000, LEVELS),
    "levels of mappings": ("{a: " * 5_000, LEVELS),
    "levels of lines": ("- " * 5_000, LEVELS),
    "levels of keys": ("? " * 5_000, LEVELS),
    "many values": ("\n".join("- 1" for _ in range(25_000)), VALUES),
    "many anchors": ("\n".join(f"- &a{n} 1" for n in range(25_000)), VALUES),
    "many keys": ("{" + "?," * 25_000 + "}", "occurs twice|more than 20000"),
    "a large integer": ("a: " + "9" * 100_000, "digits"),
    "a long integer": ("a: " + "1_" * 100_000, "digits|not YAML"),
    "a large float": ("a: 1e" + "9" * 100_000, "not a finite number"),
    "infinity": ("a: -.inf", "not a finite number"),
    "no number": ("a: .nan", "not a finite number"),
    "a key twice": ("a: 1\na: 2", "'a' occurs twice"),
    "a key in quotes": ("a: 1\n'a': 2", "'a' occurs twice"),
    "a key of another form": ("yes: 1\ntrue: 2", "'true' occurs twice"),
    "a key of another kind": ("1: a\n1.0: b", "'1.0' occurs twice"),
    "nothing twice": ("~: 1\nnull: 2", "'null' occurs twice"),
    "a key inside twice": ("a: {b: 1, b: 2}", "'b' occurs twice"),
    "a list as a key": ("? [1]\n: 2", "unhashable"),
    "a call": ("!!python/object/apply:os.system [touch canary]", TAG),
    "an object": ("!!python/object/new:os.system [touch canary]", TAG),
    "a name": ("!!python/name:os.system", TAG),
    "a module": ("!!python/module:os", TAG),
    "a tuple": ("!!python/tuple [1]", TAG),
    "a tag in full": ("!<tag:yaml.org,2002:python/name:os.system> ''", TAG),
    "a prefix": ("%TAG ! tag:yaml.org,2002:python/\n---\n!name:os.system ''", TAG),
    "bytes": ("!!binary aGk=", TAG),
    "a set": ("!!set {a, b}", TAG),
    "pairs": ("!!pairs [a: 1]", TAG),
    "a date": ("!!timestamp 2026-01-01", TAG),
    "a tag of theirs": ("!mine {a: 1}", TAG),
    "a tag that does not fit": ("!!int x", "not YAML"),
    "a tag of another kind": ("!!int [1]", "not YAML"),
    "two documents": ("a: 1\n---\nb: 2", "a single document"),
    "an alias of nothing": ("*x", "undefined alias"),
    "a nul": ("a: \0", "unacceptable character"),
    "an escape": ("a: \x1b[31m", "unacceptable character"),
    "half a letter": ("a: \ud800", "unacceptable character"),
    "another version": ("%YAML 9.9\n---\na: 1", "not YAML"),
    "a tab": ("\ta: 1", "not YAML"),
    "text without an end": ("a: 'x", "not YAML"),
    "too long": ("#" * (CHARACTERS + 1), "more than 500,000 characters"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_invalid_yaml_raises(text, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words) as caught:
        value_of(text, "theirs.yaml")
    told = str(caught.value)
    assert told.startswith("theirs.yaml: ")
    assert len(told) < 1_000
    assert not list(tmp_path.iterdir())


TAKEN = {
    "aliases": ("a: &a [1]\nb: *a", {"a": [1], "b": [1]}),
    "merges": ("a: &a {x: 1, y: 2}\n<<: *a", {"a": {"x": 1, "y": 2}, "x": 1, "y": 2}),
    "tags of plain values": ("[!!str 1, !!int '2', !!float 3, !!null '']", ["1", 2, 3.0, None]),
    "50 levels": ("[" * 49 + "1" + "]" * 49, None),
    "numbers": ("[1e-6, 1_000, .5, -3]", [1e-6, 1000, 0.5, -3]),
    "no numbers": ("[010, 12:30, 2026-01-01, 0x10]", ["010", "12:30", "2026-01-01", "0x10"]),
    "nothing": ("", None),
    "letters": ("a: Ä 数 \u202e", {"a": "Ä 数 \u202e"}),
    "a mark of editors": ("\ufeffa: 1", {"a": 1}),
}


@pytest.mark.parametrize(("text", "value"), TAKEN.values(), ids=TAKEN)
def test_plain_yaml_is_read(text, value):
    found = value_of(text, "mine.yaml")
    assert value is None or found == value
    assert value_of(text_of(found), "again") == found
    assert value_of(text_of(found, flow=True), "again") == found


FILES = {
    "none": (lambda place: None, "cannot read configuration .*No such file"),
    "a directory": (lambda place: place.mkdir(), "cannot read configuration .*directory"),
    "a fifo": (os.mkfifo, "is a FIFO"),
    "a device": (lambda place: place.symlink_to("/dev/zero"), "is a device"),
    "a link to itself": (lambda place: place.symlink_to(place.name), "cannot read"),
    "no text": (lambda place: place.write_bytes(b"a: \xff"), "not UTF-8 text"),
    "UTF-16": (lambda place: place.write_text("a: 1", encoding="utf-16"), "not UTF-8 text"),
    "large": (lambda place: place.write_bytes(b"#" * 3_000_000), "more than 500,000"),
}


@pytest.mark.parametrize(("make", "words"), FILES.values(), ids=FILES)
def test_invalid_yaml_file_raises(tmp_path, make, words):
    place = tmp_path / "theirs.yaml"
    make(place)
    with pytest.raises(ConfigError, match=words) as caught:
        read(place, "configuration")
    assert "theirs.yaml" in str(caught.value)


def test_pipe_of_a_shell_is_read():
    told, tells = os.pipe()
    os.write(tells, b"a: 1")
    os.close(tells)
    assert read(Path(f"/dev/fd/{told}"), "configuration") == {"a": 1}
    os.close(told)
