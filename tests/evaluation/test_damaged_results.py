"""Errors about damaged or foreign results of evaluations name the file."""

import json
import os
import shutil
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vantage.errors import InputError
from vantage.evaluation import report
from vantage.evaluation.differences import differences
from vantage.evaluation.pass_at_k import Estimate
from vantage.evaluation.results import Result, read_all, write

ROWS = {
    "id": ["0", "1"],
    "question": ["a", "b"],
    "reference": ["1", "2"],
    "cluster": ["0", "1"],
    "failed": [None, None],
    "right": [True, False],
}
KINDS = {name: pa.bool_() if name == "right" else pa.string() for name in ROWS}


def columns(**changed):
    values = {name: pa.array(value, KINDS[name]) for name, value in ROWS.items()}
    return pa.table({k: v for k, v in {**values, **changed}.items() if v is not None})


def made(model):
    origin = {"model": model, "data": "d", "questions": "0" * 16}
    asked = {"template": "{question}", "temperature": 0.5}
    measures = {"accuracy": Estimate(0.5, 0.1)}
    counts = (2, 1, 0, 0, 0)
    return Result(model, "own", "own", {}, *counts, origin, asked, ("accuracy",), measures)


@pytest.fixture
def folder(tmp_path):
    for model in ("m", "n"):
        (tmp_path / model).mkdir()
        write(tmp_path / model / "own.json", made(model))
        pq.write_table(columns(), tmp_path / model / "own.parquet")
    return tmp_path


def figures(folder):
    known = read_all(folder)
    report.write(folder, known, differences(known))
    return (folder / "table.md").read_text()


def changed(**values):
    return lambda place: place.write_text(json.dumps({**plain(), **values}))


def plain():
    value = {name: one for name, one in asdict(made("m")).items() if name != "path"}
    return {**value, "measures": {"accuracy": {"mean": 0.5, "error": 0.1}}}


def raw(content):
    return lambda place: place.write_bytes(content)


def instead(make):
    def put(place):
        place.unlink()
        make(place)

    return put


def lacking(name):
    return lambda place: place.write_text(
        json.dumps({key: value for key, value in plain().items() if key != name})
    )


ANY = {
    "empty": raw(b""),
    "zeros": raw(b"\0" * 1_000),
    "text": raw(b"hello"),
    "a directory": instead(lambda place: place.mkdir()),
    "a pipe": instead(os.mkfifo),
    "a device": instead(lambda place: place.symlink_to("/dev/zero")),
    "half": lambda place: os.truncate(place, place.stat().st_size // 2),
}
JSON = {
    **ANY,
    "an empty object": raw(b"{}"),
    "a list": lambda place: place.write_text(json.dumps([plain()])),
    "a number": raw(b"1"),
    "a list of numbers": raw(b"[1]"),
    "deep": raw(b"[" * 100_000),
    "long": raw(b" " * 2**25),
    "digits": raw(b'{"questions": ' + b"9" * 9_999 + b"}"),
    "no UTF-8": raw(b'{"model": "\xff"}'),
    **{f"without {name}": lacking(name) for name in plain()},
    **{
        f"{name} {n}": changed(**{name: value})
        for name, values in {
            "questions": ["1", -1, 1.5, None, 10**30, True],
            "model": [1, None, ["m"], "\ud800"],
            "benchmark": [1, None],
            "judge": [1, [], {"model": "j"}, {"model": 1, "server": "s"}],
            "origin": [1, {"model": 1}, [], {"model": "m", "data": "d"}],
            "asked": [1, []],
            "shown": ["accuracy", [1], None],
            "measures": [
                [],
                {"accuracy": 1},
                {"accuracy": {"mean": "x", "error": 0.1}},
                {"accuracy": {"mean": float("nan"), "error": 0.1}},
                {"accuracy": {"mean": float("inf"), "error": 0.1}},
                {"accuracy": {"mean": 5.0, "error": 0.1}},
                {"accuracy": {"mean": 0.5, "error": -1.0}},
                {"accuracy": {"mean": 0.5}},
                {"accuracy": {"mean": 0.5, "error": 0.1, "more": 1}},
            ],
            "unknown": [1],
        }.items()
        for n, value in enumerate(values)
    },
}
TABLES = {
    **ANY,
    "another table": lambda place: pq.write_table(pa.table({"a": [1]}), place),
    **{
        f"{what} {name}": lambda place, name=name, value=value: pq.write_table(
            columns(**{name: value}), place
        )
        for name in ROWS
        for what, value in {
            "without": None,
            "numbers as": pa.array([1.5, 2.5]),
            "lists as": pa.array([["x"], ["y"]]),
            "bytes as": pa.array([b"\xff", b"\xfe"]),
        }.items()
    },
    **{
        f"null {name}": lambda place, name=name: pq.write_table(
            columns(**{name: pa.array([None, None], KINDS[name])}), place
        )
        for name in ROWS
        if name != "failed"
    },
}


@pytest.mark.parametrize(("ending", "cases"), [("json", JSON), ("parquet", TABLES)])
def test_error_names_the_damaged_file(folder, tmp_path_factory, ending, cases):
    right = figures(folder)
    assert "+0.0" in right  # the difference of the two
    wrong = {}
    for name, damage in cases.items():
        other = tmp_path_factory.mktemp("other") / "results"
        shutil.copytree(folder, other)
        place = other / "m" / f"own.{ending}"
        damage(place)
        try:
            figures(other)
            wrong[name] = "taken"
        except InputError as error:
            if str(place) not in str(error) or len(str(error)) > 1_000:
                wrong[name] = str(error)
        except BaseException as error:  # the user would see a traceback
            wrong[name] = repr(error)
    assert wrong == {}
    assert figures(folder) == right
