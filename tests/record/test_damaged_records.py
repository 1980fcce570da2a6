"""Damaged, foreign or hostile records give an error that names the file, or the same figures."""

import contextlib
import json
import os
import re
import shutil
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import steps

from vantage.errors import InputError
from vantage.methods import recipe
from vantage.record import Record, Recorder
from vantage.record.replay import replay
from vantage.report import page

BATCHES = 3
STEP = "steps/00000001"
TABLES = {name: f"{STEP}/{name}.parquet" for name in ("batch", "rollouts", "samples", "prompts")}
TABLES["validations"] = "validations/00000003.parquet"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Directory of a run of three batches, and its figures."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with Recorder(run, steps.ABOUT) as recorder:
        for number in range(BATCHES):
            recorder.append(steps.made(number, questions=2))
        recorder.validated(BATCHES, {"rewards/accuracy/mean": 0.5}, 1.0)
    return run, figures(run)


def figures(run):
    """Compute everything that a report and a replay show of a record."""
    record = Record(run)
    found = replay(record, recipe("shuffle-r1"))
    shown = page.page([record])
    told = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', shown, re.S)
    done, would = ({k: v.tolist() for k, v in part.items()} for part in (found.done, found.would))
    return [told[1] if told else shown, repr((found.steps, done, would, found.same_B.tolist()))]


@contextlib.contextmanager
def within(seconds):
    """Fail a test that takes longer than `seconds`."""

    def ring(*_):
        raise AssertionError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Damages of any file; each takes its path.
def cut(share):
    return lambda place: os.truncate(place, int(place.stat().st_size * share))


def flipped(share):
    def flip(place):
        content = bytearray(place.read_bytes())
        content[int((len(content) - 1) * share)] ^= 0x55
        place.write_bytes(content)

    return flip


def replaced(content):
    return lambda place: place.write_bytes(content)


def instead(make):
    def put(place):
        place.unlink()
        make(place)

    return put


def foreign(place):
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), place)


def sparse(place):
    place.write_bytes(b"PAR1")
    os.truncate(place, 2**32)


FILES = {
    "of zero bytes": replaced(b""),
    "of zeros": replaced(b"\0" * 4_096),
    "of text": replaced(b"hello\n" * 50),
    "of JSON": replaced(b'[{"a": 1}]'),
    "of magic alone": replaced(b"PAR1PAR1"),
    "of magic and a length": replaced(b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1"),
    "of another table": foreign,
    "of four gigabytes": sparse,
    "missing": instead(lambda place: None),
    "a directory": instead(lambda place: place.mkdir()),
    "a pipe": instead(lambda place: os.mkfifo(place)),
    "a device": instead(lambda place: place.symlink_to("/dev/zero")),
    "a link to nothing": instead(lambda place: place.symlink_to("nothing")),
    "a link to itself": instead(lambda place: place.symlink_to(place.name)),
    **{f"cut at {share}": cut(share) for share in (0.1, 0.5, 0.9, 0.999)},
    **{f"flipped at {n / 10}": flipped(n / 10) for n in range(11)},
}


# Damages of a column; each takes the table and the column's name.
def valued(value):
    def put(table, name):
        values = table[name].to_pylist()
        values[-1] = value
        return with_column(table, name, pa.array(values, table[name].type))

    return put


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


COLUMNS = {
    "missing": lambda table, name: table.drop_columns([name]),
    "as texts": lambda table, name: with_column(table, name, pa.array(["x"] * len(table))),
    "as lists": lambda table, name: with_column(table, name, pa.array([[1.5]] * len(table))),
    "as bytes": lambda table, name: with_column(table, name, pa.array([b"\xff"] * len(table))),
    "as nothing": lambda table, name: with_column(table, name, pa.nulls(len(table))),
    "as dates": lambda table, name: with_column(
        table, name, pa.array([0] * len(table), pa.timestamp("s"))
    ),
    "twice": lambda table, name: table.append_column(name, table[name]),
}
FREE = ("response", "text", "earlier", "later", "pictures")  # may be null
VALUES = {
    "rollouts": {
        "batch": [0, -1, None],
        "rollout": [0, -1, 10**6, None],
        "row": [-1, None],
        "prompt": [10**6, -5, None],
        "reward": [float("inf"), 1e31, -1e300, None],
        "trained": [-1, None],
        "tokens": [-1, None],
        "variant": [-1, None],
        "parts": [None],
        "question": [None],
    },
    "samples": {
        "batch": [2, None],
        "sample": [0, -1, None],
        "rollout": [-1, 10**6, 2**31 - 1, None],
        "prompt": [10**6, -1, None],
        "advantage": [float("nan"), float("inf"), 1e300, None],
        "pair": [-2, None],
        "padding": [None],
        "weight": [float("nan"), -1.0, float("inf"), None],
        "update": [-1, None],
    },
    "prompts": {
        "batch": [7, None],
        "prompt": [0, 10**6, None],
        "row": [-1, 10**9, None],
        "variant": [-1, None],
    },
    "batch": {
        "batch": [0, None],
        "updates": [-1, 2**62, None],
        "generated_tokens": [-1, 2**62, None],
        "done": [float("nan"), -0.5, 1.5, None],
        "seconds": [[("rollout_batch", -1.0)], [("x", float("nan"))], [("x", None)], None],
        "metrics": [[("reward", None)], None],
    },
    "validations": {
        "batch": [-1, None],
        "metric": [None],
        "value": [None],
        "seconds": [-1.0, float("nan"), None],
    },
}
ROWS = {
    "none": lambda table: table.slice(0, 0),
    "one less": lambda table: table.slice(0, len(table) - 1),
    "backwards": lambda table: table.take(pa.array(np.arange(len(table))[::-1])),
    "twice": lambda table: pa.concat_tables([table, table]),
}
ABOUT = {
    "no object": [1],
    "nothing": None,
    "a text": "about",
    **{
        f"{name} {str(value)[:20]!r}": {name: value}
        for name, values in {
            "format": [0, 2, "1", None],
            "seed": [-1, 1.5, "7", None, True, 10**30, [7]],
            "updates": [0, -4, 2.5, "4", None, False],
            "batches": [-1, 1.5, "many", [50]],
            "recipe": [1, None, [], {}, {"name": 1}, {"rounds": 4}, "half \ud800"],
            "engine": [None, 1, ["trl"], "\udfff"],
            "settings": [None, 1, "x", []],
            "unknown": [1],
        }.items()
        for value in values
    },
}
RAW = {
    "deep": b"[" * 100_000,
    "not a number": b'{"format": 1, "settings": {"x": NaN}}',
    "too many digits": b'{"format": 1, "seed": ' + b"9" * 5_000 + b"}",
    "no UTF-8": b'{"format": "\xff"}',
    "too long": b" " * 2**21 + b"{}",
}


def cases():
    files = [*TABLES.values(), "about.json"]
    yield from (("file", file, how) for file in files for how in FILES)
    for name in TABLES:
        for column in SCHEMAS[name]:
            yield from (("column", name, column, how) for how in COLUMNS)
        for column, values in VALUES[name].items():
            yield from (("value", name, column, n) for n in range(len(values)))
    yield from (("rows", name, how) for name in TABLES if name != "validations" for how in ROWS)
    yield from (("about", how) for how in [*ABOUT, *RAW])


SCHEMAS = {
    name: columns.split()
    for name, columns in {
        "batch": "batch updates ended generated_tokens done seconds metrics",
        "rollouts": "batch rollout row question epoch prompt variant reward parts advantage "
        "trained tokens log_prob response",
        "samples": "batch sample rollout prompt advantage pair padding weight update",
        "prompts": "batch prompt row variant text earlier later pictures",
        "validations": "batch metric value seconds",
    }.items()
}


def damage(record, kind, *what):
    """Apply a damage to a record and return the damaged file."""
    if kind == "file":
        file, how = what
        FILES[how](record / file)
        return record / file
    if kind == "about":
        place = record / "about.json"
        if what[0] in RAW:
            place.write_bytes(RAW[what[0]])
            return place
        told, change = json.loads(place.read_text()), ABOUT[what[0]]
        place.write_text(json.dumps(told | change if isinstance(change, dict) else change))
        return place
    place = record / TABLES[what[0]]
    with pq.ParquetFile(place) as file:
        table = file.read()
    if kind == "column":
        _, column, how = what
        table = COLUMNS[how](table, column)
    elif kind == "value":
        name, column, number = what
        table = valued(VALUES[name][column][number])(table, column)
    else:
        table = ROWS[what[1]](table)
    pq.write_table(table, place)
    return place


CASES = list(cases())


def harmless(case):
    """Return whether a damage changes only texts, so that the record stays readable."""
    kind, name, *_, how = case
    if kind == "column":
        texts = case[2] in ("text", "response", "metric") and how == "as texts"
        return texts or (case[2] in FREE and how == "as nothing") or case[2:] == ("done", "missing")
    flipped = name == "about.json" and how.startswith("flipped")  # it has no checksum
    return kind == "file" and (flipped or (name.startswith("validations") and how == "missing"))


def test_number_of_cases():
    assert len(CASES) == len(set(CASES)) >= 200


@pytest.mark.parametrize("kind", sorted({case[0] for case in CASES}))
def test_error_names_the_damaged_file_or_figures_are_unchanged(whole, tmp_path, kind):
    run, right = whole
    wrong = {}
    for case in (case for case in CASES if case[0] == kind):
        other = tmp_path / "run"
        shutil.copytree(run, other)
        place = damage(other / "record", *case)
        try:
            with within(10):
                made = figures(other)
            if made != right and not harmless(case):
                wrong[case] = "other figures"
        except InputError as error:
            told = str(error)
            named = place.name in told or str(place.parent) in told or "no training wrote" in told
            if not (named and str(other) in told and len(told) < 1_500):
                wrong[case] = told
        except BaseException as error:  # the user would see a traceback
            wrong[case] = repr(error)
        shutil.rmtree(other)
    assert wrong == {}


def test_foreign_files_among_the_batches_are_ignored_and_named(whole, tmp_path):
    run, right = whole
    shutil.copytree(run, tmp_path / "run")
    batches = tmp_path / "run" / "record" / "steps"
    shutil.copytree(batches / "00000001", batches / "00000001 copy")
    for name in ("-0000001", "12abc", "5", "٣", "9" * 30, ".DS_Store", ".nfs01"):
        (batches / name).mkdir()
    (batches / "00000009").write_text("a file")
    (batches.parent / "validations" / "00000003 copy.parquet").write_text("")
    record = Record(tmp_path / "run")
    left_out = {place.name for place in record.foreign}
    assert left_out >= {"00000001 copy", "12abc", "5", "00000009", "00000003 copy.parquet"}
    assert ".DS_Store" not in left_out
    assert record.steps == [0, 1, 2]
    assert figures(tmp_path / "run") == right


def test_a_text_that_would_fill_the_memory_is_refused(tmp_path):
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(steps.made(0))
    place = tmp_path / "record" / "steps" / "00000000" / "rollouts.parquet"
    with pq.ParquetFile(place) as file:
        table = file.read()
    rows = pa.array(np.zeros(1_200, dtype=int))
    bomb = with_column(table.take(rows), "response", pa.array(["x" * 10**6] * 1_200))
    pq.write_table(bomb, place)
    assert place.stat().st_size < 5e6
    with pytest.raises(InputError, match="uncompressed"):
        Record(tmp_path).step(0, "rollouts")


def test_an_image_outside_of_the_record_is_not_read(whole, tmp_path):
    (tmp_path / "secret.webp").write_bytes(b"secret")
    record = Record(whole[0])
    out = os.path.relpath(tmp_path / "secret", record.folder / "pictures")
    assert record.picture(out) is record.picture("/etc/passwd") is record.picture("0" * 40) is None
