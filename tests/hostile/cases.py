"""Hostile inputs for every command and for the Python API, generated where possible."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from arena import CANARY, Case
from shared import ROWS, SERVERS, Shared, settings

EVIL = f"""import pathlib
pathlib.Path({CANARY!r}).write_text("ran")
pathlib.Path(__file__).with_name({CANARY!r}).write_text("ran")
def f(*given, **named):
    return [1.0]
"""


class Pickled:
    """What writes the canary when it is unpickled."""

    def __reduce__(self):
        return (exec, (f"open({CANARY!r}, 'w').write('ran')",))


def write(path: Path, content: Any) -> Path:
    """A file with bytes, a text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
    else:
        path.write_text(json.dumps(content))
    return path


def configured(folder: Path, shared: Shared, **sections: Any) -> str:
    """A configuration file, some sections changed."""
    values = settings(shared.model, shared.rows, folder / "out")
    for name, options in sections.items():
        both = isinstance(options, dict) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **options} if both else options
    return str(write(folder / "run.yaml", yaml.safe_dump(values)))


# ---- configurations --------------------------------------------------------------------------

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
)
TEXTS: dict[str, Any] = {
    "empty": "",
    "binary": bytes(range(256)) * 10,
    "nul": "model: {path: 'a\0b'}",
    "utf-16": "model: {path: m}".encode("utf-16"),
    "latin-1": b"model: {path: \xe9}",
    "a-list": "[1, 2]",
    "a-text": "hello",
    "a-number": "7",
    "aliases": BOMB,
    "aliases-of-maps": BOMB.replace("[", "{a: ").replace(", ", ", b: ").replace("]", "}"),
    "itself": "model: &m {path: *m}",
    "itself-in-a-list": "&a [*a]",
    "deep-lists": "[" * 5000,
    "deep-maps": "{a: " * 5000,
    "deep-blocks": "\n".join(" " * n + "a:" for n in range(3000)),
    "deep-closed": "data: " + "[" * 2000 + "]" * 2000,
    "merge": "a: &a {x: 1}\nb: {<<: [" + ", ".join(["*a"] * 5000) + "]}",
    "python-apply": f"model: !!python/object/apply:os.system ['touch {CANARY}']",
    "python-new": "model: !!python/object/new:tuple [[1]]",
    "python-name": "model: !!python/name:os.system",
    "python-module": "model: !!python/module:antigravity",
    "unknown-tag": "model: !x {path: m}",
    "binary-tag": "model: !!binary aGVsbG8=",
    "set-tag": "model: !!set {a, b}",
    "twice": "model: {path: a}\nmodel: {path: b}",
    "two-documents": "model: {path: a}\n---\nmodel: {path: b}",
    "keys-of-lists": "? [a, b]\n: c",
    "keys-of-maps": "{{a: b}: c}",
    "tabs": "model:\n\tpath: m",
    "long-number": "run: {seed: " + "9" * 100_000 + "}",
    "long-line": "model: {path: " + "a" * 5_000_000 + "}",
    "many-keys": "\n".join(f"k{n}: {n}" for n in range(200_000)),
    "infinite": "run: {epochs: .inf}",
    "nan": "run: {epochs: .nan}",
    "sexagesimal": "run: {seed: 190:20:30}",
    "controls": 'model: {path: "\\e]0;owned\\a\\e[2J"}',
    "control-keys": '"\\e[31mmodel": 1',
    "bidi": 'model: {path: "\u202eevil"}',
    "anchors-alone": "&a",
    "a-directive": "%YAML 9.9\n---\na: b",
    "include": "model: !include /etc/passwd",
    "environment": "model: {path: '${HOME}'}",
    "unknown-section": "modell: {path: m}",
}


def texts_of_configurations() -> Iterator[Case]:
    for name, text in TEXTS.items():
        for entry in ("check", "train"):
            more = ["--dry-run"] if entry == "train" else []

            def prepare(folder: Path, shared: Shared, text=text, entry=entry, more=more):
                return [entry, str(write(folder / "run.yaml", text)), *more]

            yield Case(
                entry, "config", name, prepare, names=("run.yaml", "configuration is invalid")
            )


SECTIONS: dict[str, dict[str, Any]] = {
    "recipe-of-a-list": {"recipe": [1]},
    "recipe-without-a-file": {"recipe": "gone.py:f"},
    "recipe-that-is-a-folder": {"recipe": "/tmp:f"},
    "recipe-with-a-name-of-controls": {"recipe": "\x1b[31mx"},
    "sampling-without-a-file": {"data": {"sampling": "gone.py:F"}},
    "reward-without-a-file": {"rewards": {"gone.py:f": 1.0}},
    "reward-of-a-name-inside": {"rewards": {"os.py:system.__call__": 1.0}},
    "no-rewards": {"rewards": {}},
    "rewards-of-nan": {"rewards": {"accuracy": "nan"}},
    "rewards-of-huge": {"rewards": {"accuracy": 1e308}},
    "template-of-columns": {"data": {"template": "{question.__class__}"}},
    "template-with-the-answer": {"data": {"template": "{question} {answer}"}},
    "template-long": {"data": {"template": "{question}" + "x" * 400_000}},
    "template-of-braces": {"data": {"template": "{question}" + "{" * 100_000}},
    "template-of-backslashes": {"data": {"template": "{question}" + "\\a{" * 20_000}},
    "system-of-controls": {"data": {"system_prompt": "\x1b[2J\x07"}},
    "split-of-a-path": {"data": {"split": "../../etc"}},
    "image-root-gone": {"data": {"image_root": "/gone"}},
    "output-empty": {"run": {"output": ""}},
    "output-a-file": {"run": {"output": "/etc/passwd"}},
    "output-in-proc": {"run": {"output": "/proc/self/x"}},
    "output-null": {"run": {"output": "/dev/null/x"}},
    "output-long": {"run": {"output": "/tmp/" + "a" * 300}},
    "output-of-controls": {"run": {"output": "/proc/\x1b[2J"}},
    "judge-elsewhere": {
        "rewards": {"judge": 1.0},
        "judge": {"base_url": "ftp://192.0.2.1/x", "model": "m"},
    },
    "attention-of-a-repository": {"model": {"attention": "evil/kernels"}},
    "remote-code": {"trl": {"use_cpu": True, "bf16": False, "trust_remote_code": True}},
    "deepspeed-of-a-file": {"trl": {"use_cpu": True, "deepspeed": "/etc/passwd"}},
    "accelerator-of-a-file": {"trl": {"use_cpu": True, "accelerator_config": "/etc/passwd"}},
    "optimizer-of-nobody": {"trl": {"use_cpu": True, "optim": "evil"}},
    "report-to-nobody": {"run": {"output": "o", "batches": 1, "report_to": ["evil"]}},
    "verl-without-it": {"engine": "verl"},
    "layout-of-nobody": {"data": {"layout": "evil"}},
    "columns-deep": {"data": {"columns": {"question": ".".join("a" * 5000)}}},
    "columns-of-controls": {"data": {"columns": {"question": "\x1b]0;x\x07"}}},
}


def sections_of_configurations() -> Iterator[Case]:
    for name, sections in SECTIONS.items():
        for entry in ("check", "train"):
            more = ["--dry-run"] if entry == "train" else []

            def prepare(folder: Path, shared: Shared, sections=sections, entry=entry, more=more):
                return [entry, configured(folder, shared, **sections), *more]

            yield Case(entry, "config", name, prepare, names=tuple(_said(sections)))


def _said(options: Any) -> Iterator[str]:
    """Names and texts in options, a path also without its function."""
    if isinstance(options, dict):
        for name, value in options.items():
            yield from () if name in ("data", "run", "trl") else _said(name)
            yield from _said(value)
    elif isinstance(options, str):
        yield from (options, options.rpartition(":")[0])


# ---- values of options -----------------------------------------------------------------------

VALUES = ["x", "", -1, 0, 1e30, 10**9, 2**40, [1], {"a": 1}, None]
OPTIONS = (
    *("run.seed", "run.epochs", "batch.questions", "batch.rollouts", "batch.micro_batch"),
    *("generation.max_tokens", "generation.temperature", "optimizer.schedule", "model.min_pixels"),
    *("trl.optim", "trl.report_to", "trl.num_iterations", "trl.vllm_gpu_memory_utilization"),
    *("trl.vllm_max_model_length", "trl.delta", "trl.seed", "trl.adam_beta1", "trl.logging_steps"),
)


def values_of_options() -> Iterator[Case]:
    """One dry run an option, with all its values one after the other."""
    for option in OPTIONS:

        def prepare(folder: Path, shared: Shared, option=option):
            section, name = option.split(".")
            base = settings(shared.model, shared.rows, folder / "out")

            def look() -> None:
                from vantage import config
                from vantage.checking.run import dry_run
                from vantage.errors import VantageError

                for value in VALUES:
                    options = {**base[section], name: value} if section in base else {name: value}
                    if option == "run.epochs":
                        options.pop("batches", None)
                    try:
                        dry_run(config.parse({**base, section: options}))
                    except VantageError as error:
                        print(error)

            return look

        yield Case("api", "values", option, prepare)


# ---- data ------------------------------------------------------------------------------------

GOOD = "".join(json.dumps(row) + "\n" for row in ROWS)
DATA: dict[str, Any] = {
    "empty.jsonl": "",
    "spaces.jsonl": "\n \n\t\n",
    "random.jsonl": bytes(range(256)) * 100,
    "nul.jsonl": GOOD.replace("Add", "A\\u0000d"),
    "zeros.jsonl": b"\0" * 1_000_000,
    "gzip.jsonl": gzip.compress(GOOD.encode()),
    "pickle.jsonl": pickle.dumps(Pickled()),
    "deep.jsonl": '{"question": ' + "[" * 100_000 + "\n",
    "deep-closed.jsonl": '{"question": ' + "[" * 900 + "]" * 900 + ', "answer": "1"}\n',
    "digits.jsonl": '{"question": "a?", "answer": ' + "9" * 100_000 + "}\n",
    "infinite.jsonl": '{"question": "a?", "answer": 1e999}\n{"question": "b?", "answer": NaN}\n',
    "surrogates.jsonl": '{"question": "a\\ud800?", "answer": "1"}\n',
    "twice.jsonl": '{"question": "a?", "question": "b?", "answer": "1"}\n',
    "lists.jsonl": "[1]\n[2]\n",
    "texts.jsonl": '"a"\n"b"\n',
    "nulls.jsonl": "null\nnull\n",
    "objects.jsonl": '{"question": {"a": {"b": 1}}, "answer": {"c": 2}}\n',
    "mixed.jsonl": '{"question": "a?", "answer": "1"}\n{"question": 1, "answer": [1]}\n7\n',
    "controls.jsonl": '{"question": "\\u001b]0;owned\\u0007\\u009b2J", "answer": ""}\n' * 3,
    "control-names.jsonl": '{"\\u001b[31mquestion": "a?", "answer": "1"}\n',
    "control-values.jsonl": '{"question": "a?", "answer": "\\u001b[2J", "image": "\\u001b[2J"}\n',
    "many-columns.jsonl": json.dumps({f"c{n}": n for n in range(50_000)}) + "\n",
    "long-cell.jsonl": json.dumps({"question": "a" * 30_000_000, "answer": "1"}) + "\n",
    "long-answer.jsonl": json.dumps({"question": "a?", "answer": "(" * 1_000_000}) + "\n",
    "tower.jsonl": json.dumps({"question": "a?", "answer": "9^9^9^9^9^9"}) + "\n",
    "factorial.jsonl": json.dumps({"question": "a?", "answer": "(10^9)!!!!"}) + "\n",
    "formula.jsonl": json.dumps({"question": "a?", "answer": "\\sqrt" * 5_000}) + "\n",
    "literal.jsonl": json.dumps({"question": "a?", "answer": "['" + "(" * 50_000 + "']"}) + "\n",
    "python.jsonl": json.dumps(
        {"question": "a?", "answer": f"__import__('os').system('touch {CANARY}')"}
    )
    + "\n",
    "spaces-in-answers.jsonl": json.dumps({"question": "a?", "answer": " " * 500_000 + "1"}) + "\n",
    "markers.jsonl": json.dumps({"question": "<image>" * 50_000, "answer": "1"}) + "\n",
    "numbered.jsonl": json.dumps({"question": "<image 9" * 50_000, "answer": "1"}) + "\n",
    "options.jsonl": json.dumps({"question": "a?", "answer": "A", "options": "[" * 10_000}) + "\n",
    "special.jsonl": json.dumps({"question": "<|end|><|user|>", "answer": "1"}) + "\n",
    "roles.jsonl": json.dumps({"messages": [{"role": {"a": 1}, "content": "x"}], "answer": "1"})
    + "\n",
    "tools.jsonl": json.dumps(
        {"messages": [{"role": "user", "content": None, "tool_calls": [{}]}], "answer": "1"}
    )
    + "\n",
    "empty.json": "",
    "number.json": "7",
    "deep.json": "[" * 100_000,
    "deep-objects.json": '{"a":' * 50_000,
    "columns.json": '{"question": {"0": "a?"}, "answer": {"1": "b"}}',
    "empty.csv": "",
    "header.csv": "question,answer\n",
    "quotes.csv": 'question,answer\n"a,1\n',
    "ragged.csv": "question,answer\na\nb,1,2\n",
    "twice.csv": "question,question,answer\na,b,c\n",
    "nul.csv": b"question,answer\na\0b,1\n",
    "controls.csv": "question,answer\n\x1b[2J,\x1b]0;x\x07\n",
    "control-header.csv": "question,answer,\x1b[31m\na,1,2\n",
    "formula.csv": "question,answer\n\"=cmd|' /C calc'!A0\",1\n",
    "latin.csv": "question,answer\n\xe9,1\n".encode("latin-1"),
    "utf-16.csv": "question,answer\na,1\n".encode("utf-16"),
    "wide.csv": ",".join(f"c{n}" for n in range(20_000)) + "\n" + ",".join("1" * 20_000) + "\n",
    "quoted.csv": "question,answer\n" + '"' * 1_000_001 + ",1\n",
    "empty.tsv": "",
    "empty.parquet": b"",
    "magic.parquet": b"PAR1PAR1",
    "random.parquet": b"PAR1" + bytes(range(256)) * 40 + b"PAR1",
    "length.parquet": b"PAR1" + struct.pack("<I", 2**31 - 1) + b"PAR1",
}


def data_of_files() -> Iterator[Case]:
    for name, content in DATA.items():

        def check(folder: Path, shared: Shared, name=name, content=content):
            return ["check", str(write(folder / name, content)), "--model", str(shared.model)]

        def expand(folder: Path, shared: Shared, name=name, content=content):
            out = ["--output", "out.parquet", "--rewrites", "1", "--built-in"]
            return ["expand", str(write(folder / name, content)), *out]

        def train(folder: Path, shared: Shared, name=name, content=content):
            data = {"train": str(write(folder / name, content)), "max_prompt_tokens": 4096}
            return ["train", configured(folder, shared, data=data, run={"batches": 1})]

        yield Case("check", "data", name, check)
        yield Case("expand", "data", name, expand)
        yield Case("train", "data", name, train, names=(name, "rows", "max_prompt_length"))


def _parquet(folder: Path, columns: dict, **options: Any) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / "rows.parquet"
    parquet.write_table(pa.table(columns), path, **options)
    return path


def _cut(folder: Path) -> Path:
    path = _parquet(folder, {"question": ["a?"] * 100, "answer": ["1"] * 100})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[-8:])
    return path


def _flipped(folder: Path, at: float) -> Path:
    path = _parquet(folder, {"question": ["a?"] * 100, "answer": [str(n) for n in range(100)]})
    content = bytearray(path.read_bytes())
    place = int(len(content) * at)
    content[place : place + 16] = bytes(255 - byte for byte in content[place : place + 16])
    path.write_bytes(bytes(content))
    return path


def _nulls(folder: Path) -> Path:
    """Ten million rows of nothing in a few bytes."""
    import pyarrow as pa

    return _parquet(
        folder,
        {
            "question": pa.nulls(10_000_000, pa.string()),
            "answer": pa.nulls(10_000_000, pa.string()),
        },
    )


def _same(folder: Path) -> Path:
    """Ten texts of 20 MB, which a dictionary stores once."""
    return _parquet(folder, {"question": ["a" * 20_000_000] * 10, "answer": ["1"] * 10})


def _features(folder: Path) -> Path:
    """Metadata that name a feature of nobody."""
    import pyarrow as pa
    from pyarrow import parquet

    about = {"info": {"features": {"question": {"_type": "os.system", "x": [1]}}}}
    table = pa.table({"question": ["a?"], "answer": ["1"]})
    path = folder / "rows.parquet"
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path)
    return path


def _script(folder: Path) -> Path:
    write(folder / "set" / "set.py", EVIL)
    write(folder / "set" / "dataset_infos.json", "{}")
    write(folder / "set" / "rows.jsonl", GOOD)
    return folder / "set"


def _readme(folder: Path) -> Path:
    """A card that names files at an address."""
    front = "---\nconfigs:\n- config_name: default\n  data_files: http://192.0.2.1/x.jsonl\n---\n"
    write(folder / "set" / "README.md", front)
    write(folder / "set" / "rows.jsonl", GOOD)
    return folder / "set"


def _readme_out(folder: Path) -> Path:
    front = "---\nconfigs:\n- config_name: default\n  data_files: ../../../../etc/passwd\n---\n"
    write(folder / "set" / "README.md", front)
    write(folder / "set" / "rows.jsonl", GOOD)
    return folder / "set"


def _state(folder: Path) -> Path:
    write(
        folder / "set" / "state.json",
        {"_data_files": [{"filename": "/etc/passwd"}], "_format_type": None, "_fingerprint": "x"},
    )
    write(folder / "set" / "dataset_info.json", {"features": {}})
    return folder / "set"


def _states(folder: Path) -> Path:
    write(folder / "set" / "dataset_dict.json", {"splits": ["../../../etc", 7]})
    return folder / "set"


def _loop(folder: Path) -> Path:
    (folder / "set").mkdir()
    (folder / "set" / "set").symlink_to(folder / "set")
    return folder / "set"


def _to_itself(folder: Path) -> Path:
    (folder / "rows.jsonl").symlink_to(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def _fifo_inside(folder: Path) -> Path:
    (folder / "set").mkdir()
    os.mkfifo(folder / "set" / "rows.jsonl")
    return folder / "set"


def _fifo_table(folder: Path) -> Path:
    (folder / "set").mkdir()
    os.mkfifo(folder / "set" / "metadata.csv")
    return folder / "set"


def _link(folder: Path, target: str, name: str = "rows.jsonl") -> Path:
    (folder / name).symlink_to(target)
    return folder / name


def _directory(folder: Path) -> Path:
    (folder / "rows.jsonl").mkdir()
    return folder / "rows.jsonl"


def _tape(folder: Path) -> Path:
    write(folder / "set" / "rows.pkl", pickle.dumps(Pickled()))
    return folder / "set"


def _torch(folder: Path) -> Path:
    write(folder / "set" / "0001.pt", pickle.dumps(Pickled()))
    return folder / "set"


def _tarred(folder: Path) -> Path:
    import tarfile

    (folder / "set").mkdir()
    with tarfile.open(folder / "set" / "rows.tar", "w") as tar:
        for name in ("1.pkl", "1.pyd", "../../out.txt"):
            content = pickle.dumps(Pickled())
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return folder / "set"


MADE: dict[str, Callable[[Path], Path]] = {
    "parquet-cut": _cut,
    **{f"parquet-flipped-{n}": (lambda folder, n=n: _flipped(folder, n / 8)) for n in range(8)},
    "parquet-of-nulls": _nulls,
    "parquet-of-one-text": _same,
    "parquet-with-features": _features,
    "folder-with-a-script": _script,
    "folder-with-addresses": _readme,
    "folder-that-leaves": _readme_out,
    "folder-of-a-state": _state,
    "folder-of-splits": _states,
    "folder-in-itself": _loop,
    "folder-of-a-pipe": _fifo_inside,
    "folder-with-a-piped-table": _fifo_table,
    "folder-of-pickles": _tape,
    "folder-of-tensors": _torch,
    "folder-of-a-tar": _tarred,
    "a-link-to-itself": _to_itself,
    "a-pipe": _fifo,
    "a-folder-called-jsonl": _directory,
    "zeros-without-end": lambda folder: _link(folder, "/dev/zero"),
    "random-without-end": lambda folder: _link(folder, "/dev/urandom", "rows.csv"),
    "memory-of-itself": lambda folder: _link(folder, "/proc/self/mem"),
    "a-terminal": lambda folder: _link(folder, "/dev/tty"),
    "an-address": lambda folder: Path("http://192.0.2.1/rows.jsonl"),
    "a-long-name": lambda folder: folder / ("a" * 300 + ".jsonl"),
    "a-name-of-controls": lambda folder: folder / "\x1b[2J\x1b]0;x\x07.jsonl",
    "a-name-of-no-text": lambda folder: folder / os.fsdecode(b"\xff\xfe.jsonl"),
    "nobody": lambda folder: Path("~nobody-here/rows.jsonl"),
}


def data_of_places() -> Iterator[Case]:
    for name, make in MADE.items():

        def check(folder: Path, shared: Shared, make=make):
            return ["check", str(make(folder)), "--model", str(shared.model)]

        def expand(folder: Path, shared: Shared, make=make):
            more = ["--output", "out.parquet", "--rewrites", "1", "--built-in"]
            return ["expand", str(make(folder)), *more]

        yield Case("check", "data", name, check)
        yield Case("expand", "data", name, expand)


# ---- pictures --------------------------------------------------------------------------------


def _chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, content: bytes = b"", before: bytes = b"") -> bytes:
    """A PNG of any size; what is in it need not fit."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(content or b"\0" * 100, 9))
    return b"\x89PNG\r\n\x1a\n" + head + before + data + _chunk(b"IEND", b"")


BLANKS = zlib.compress(b" " * 300_000_000, 1)
SMALL = png(28, 28, b"\0" * (28 * 3 + 1) * 28)
PICTURES: dict[str, Any] = {
    "bomb": png(60_000, 60_000),
    "wide": png(2**31 - 1, 1),
    "flat": png(0, 0),
    "filled": png(9_000, 9_000, b"\0" * (9_000 * 3 + 1) * 9_000),
    "cut": SMALL[: len(SMALL) // 2],
    "text-chunk": png(28, 28, before=_chunk(b"zTXt", b"a\0\0" + BLANKS)),
    "profile": png(28, 28, before=_chunk(b"iCCP", b"a\0\0" + BLANKS)),
    "frames": png(28, 28, before=_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "random": bytes(range(256)) * 10,
    "empty": b"",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://192.0.2.1/x.png'/></svg>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch canary) (w) file\n",
    "pdf": b"%PDF-1.4\n1 0 obj <<>> endobj",
    "gif": b"GIF89a"
    + struct.pack("<HH", 65535, 65535)
    + b"\xf7\0\0"
    + b"\0" * 768
    + b","
    + b"\0" * 9,
    "tiff": b"II*\0\x08\0\0\0\x01\0" + b"\x00\x01\x04\0\x01\0\0\0\xff\xff\xff\xff" + b"\x08\0\0\0",
    "bmp": b"BM"
    + struct.pack("<IHHI", 100, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, -(2**31), 1, 32, 0, 0, 0, 0, 0, 0),
    "ppm": b"P6 99999 99999 255\n",
    "webp": b"RIFF\xff\xff\xff\xffWEBPVP8L",
    "jpeg": b"\xff\xd8\xff\xe0" + b"\0" * 100,
    "pickle": pickle.dumps(Pickled()),
    "numpy": b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
}
LINKS: dict[str, Any] = {
    "an-address": "http://192.0.2.1/x.png",
    "an-ftp": "ftp://192.0.2.1/x.png",
    "a-share": "//192.0.2.1/share/x.png",
    "a-file-address": "file:///etc/passwd",
    "a-far-file-address": "file://192.0.2.1/x.png",
    "a-bucket": "s3://bucket/x.png",
    "a-hub-address": "hf://datasets/evil/x.png",
    "a-chain": "zip://x.png::http://192.0.2.1/x.zip",
    "passwords": "/etc/passwd",
    "up": "../" * 20 + "etc/passwd",
    "a-device": "/dev/zero",
    "memory": "/proc/self/mem",
    "home": "~/x.png",
    "nul": "a\0b.png",
    "long": "a" * 5000 + ".png",
    "controls": "\x1b[2J.png",
    "base64": "data:image/png;base64,AAAA",
    "base64-of-a-bomb": "data:image/png;base64," + base64.b64encode(PICTURES["bomb"]).decode(),
    "an-object": {"bytes": None, "path": "/etc/passwd"},
    "an-object-of-an-address": {"bytes": None, "path": "http://192.0.2.1/x.png"},
    "an-object-of-nothing": {"bytes": None, "path": None},
    "a-number": 7,
    "a-list": [["a"]],
    "a-video": "x.mp4",
}


def pictures() -> Iterator[Case]:
    for name, content in PICTURES.items():

        def encoded(folder: Path, shared: Shared, content=content):
            import pyarrow as pa

            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            shown = pa.array(
                [{"bytes": SMALL, "path": None}, {"bytes": content, "path": None}], kind
            )
            path = _parquet(
                folder, {"question": ["a?", "b?"], "answer": ["1", "2"], "image": shown}
            )
            return ["check", str(path), "--model", str(shared.model)]

        def on_disk(folder: Path, shared: Shared, content=content):
            write(folder / "good.png", SMALL)
            write(folder / "bad.png", content)
            rows = [
                {"question": "a?", "answer": "1", "image": name} for name in ("good.png", "bad.png")
            ]
            path = write(folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
            return ["expand", str(path), "--output", "out.parquet", "--rewrites", "1", "--built-in"]

        yield Case("check", "picture", name, encoded)
        yield Case("expand", "picture", name, on_disk)
    for name, value in LINKS.items():

        def linked(folder: Path, shared: Shared, value=value):
            write(folder / "good.png", SMALL)
            rows = [{"question": "a?", "answer": "1", "image": one} for one in ("good.png", value)]
            path = write(folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
            return ["check", str(path), "--model", str(shared.model)]

        def copied(folder: Path, shared: Shared, linked=linked):
            more = ["--output", "out.parquet", "--rewrites", "1", "--built-in"]
            return ["expand", linked(folder, shared)[1], *more]

        yield Case("check", "picture", name, linked)
        yield Case("expand", "picture", name, copied)


# ---- models ----------------------------------------------------------------------------------


def _damaged(name: str, change: Callable[[Path], None]):
    """A copy of the model with one file changed."""

    def make(folder: Path, shared: Shared) -> Path:
        shutil.copytree(shared.model, folder / "model")
        change(folder / "model" / name)
        return folder / "model"

    return make


def _with(**values: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def _put(content: Any) -> Callable[[Path], None]:
    return lambda path: write(path, content) and None


def _templated(text: str) -> Callable[[Path], None]:
    return lambda path: write(path, text) and None


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": _put(b""),
    "random": _put(bytes(range(256)) * 10),
    "a-list": _put("[1]"),
    "deep": _put("[" * 100_000),
    "a-folder": lambda path: [path.unlink(), path.mkdir()],
    "a-loop": lambda path: [path.unlink(), path.symlink_to(path)],
}
AUTO = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.f",
    "AutoTokenizer": ["evil.f", "evil.f"],
    "AutoProcessor": "evil.f",
}
MODELS: dict[str, Any] = {
    **{
        f"{file.replace('.', '-')}-{name}": (file, change)
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json")
        for name, change in DAMAGE.items()
    },
    "config-of-nobody": ("config.json", _with(model_type="evil")),
    "config-without-a-type": ("config.json", _put({"a": 1})),
    "config-with-code": ("config.json", _with(auto_map=AUTO, model_type="evil")),
    "tokenizer-with-code": ("tokenizer_config.json", _with(auto_map=AUTO, tokenizer_class="Evil")),
    "processor-with-code": (
        "processor_config.json",
        _put({"auto_map": AUTO, "processor_class": "Evil"}),
    ),
    "config-of-huge-sizes": (
        "config.json",
        _with(text_config={"model_type": "llama", "hidden_size": 10**9, "vocab_size": 10**9}),
    ),
    "config-of-negative-sizes": (
        "config.json",
        _with(text_config={"model_type": "llama", "hidden_size": -5}),
    ),
    "config-of-texts": ("config.json", _with(text_config="x")),
    "config-of-controls": ("config.json", _with(model_type="\x1b[2J")),
    "template-without-end": (
        "chat_template.jinja",
        _templated(
            "{% for i in range(10**9) %}{% for j in range(10**9) %}x{% endfor %}{% endfor %}"
        ),
    ),
    "template-of-loops": (
        "chat_template.jinja",
        _templated(
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
        ),
    ),
    "template-of-a-gigabyte": ("chat_template.jinja", _templated("{{ 'a' * 1000000000 }}")),
    "template-of-a-power": ("chat_template.jinja", _templated("{{ 10 ** 10 ** 10 }}")),
    "template-that-leaves": (
        "chat_template.jinja",
        _templated("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    ),
    "template-that-runs": (
        "chat_template.jinja",
        _templated("{{ cycler.__init__.__globals__.os.popen('touch canary').read() }}"),
    ),
    "template-that-includes": ("chat_template.jinja", _templated("{% include '/etc/passwd' %}")),
    "template-that-raises": (
        "chat_template.jinja",
        _templated("{{ raise_exception('\x1b[2Jno') }}"),
    ),
    "template-broken": ("chat_template.jinja", _templated("{% for %}")),
    "template-empty": ("chat_template.jinja", _templated("")),
    "template-of-controls": ("chat_template.jinja", _templated("\x1b]0;owned\x07{{ messages }}")),
    "template-that-recurses": (
        "chat_template.jinja",
        _templated("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
    ),
    "adapters-elsewhere": (
        "adapter_config.json",
        _put({"peft_type": "LORA", "base_model_name_or_path": "http://192.0.2.1/m"}),
    ),
    "generation-of-texts": (
        "generation_config.json",
        _put({"max_length": "x", "eos_token_id": "y"}),
    ),
    "a-run-of-theirs": ("config.yaml", _put("recipe: evil.py:f\nmodel: {path: m}\n")),
    "a-sampling-of-theirs": (
        "config.yaml",
        _put("data: {sampling: 'evil.py:F', train: x}\nmodel: {path: m}\n"),
    ),
    "a-reward-of-theirs": ("config.yaml", _put("rewards: {'evil.py:f': 1.0}\ndata: {train: x}\n")),
    "a-bomb-of-theirs": ("config.yaml", _put(BOMB)),
}


def models() -> Iterator[Case]:
    for name, (file, change) in MODELS.items():

        def make(folder: Path, shared: Shared, file=file, change=change) -> Path:
            path = _damaged(file, change)(folder, shared)
            write(path / "evil.py", EVIL)
            write(folder / "work" / "evil.py", EVIL)
            return path

        def check(folder: Path, shared: Shared, make=make):
            return ["check", str(shared.rows), "--model", str(make(folder, shared))]

        def evaluate(folder: Path, shared: Shared, make=make):
            more = ["--samples", "1", "--limit", "1", "--max-tokens", "2", "--split", "train"]
            return ["eval", str(make(folder, shared)), str(shared.rows), *more, "--output", "out"]

        yield Case("check", "model", name, check)
        yield Case("eval", "model", name, evaluate)
    for name in ("model.safetensors", "pytorch_model.bin"):
        for what, content in {
            "pickle": pickle.dumps(Pickled()),
            "random": bytes(range(256)),
            "length": struct.pack("<Q", 2**60),
            "empty": b"",
        }.items():

            def weights(folder: Path, shared: Shared, name=name, content=content):
                shutil.copytree(shared.model, folder / "model")
                for path in (folder / "model").glob("*.safetensors"):
                    path.unlink()
                write(folder / "model" / name, content)
                more = ["--samples", "1", "--limit", "1", "--max-tokens", "2", "--split", "train"]
                return ["eval", str(folder / "model"), str(shared.rows), *more, "--output", "out"]

            def trained(folder: Path, shared: Shared, weights=weights):
                model = weights(folder, shared)[1]
                return ["train", configured(folder, shared, model={"path": model})]

            yield Case("eval", "model", f"{name.replace('.', '-')}-{what}", weights)
            yield Case(
                "train", "model", f"{name.replace('.', '-')}-{what}", trained, names=("path",)
            )


# ---- records and checkpoints -----------------------------------------------------------------

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "random": lambda content: bytes(range(256)) * 4,
    "flipped": lambda content: (
        content[:20] + bytes(255 - byte for byte in content[20:60]) + content[60:]
    ),
    "a-list": lambda content: b"[1, [2]]\n",
    "a-pickle": lambda content: pickle.dumps(Pickled()),
    "deep": lambda content: b'{"a":' * 50_000,
    "controls": lambda content: b'{"name": "\\u001b]0;owned\\u0007"}\n',
}
RECORDED = ("about.json", "steps.jsonl", "rollouts-*.parquet", "*.parquet", "*.jsonl", "*.json")


def _copied(
    folder: Path, shared: Shared, kind: str, number: int, change: Callable[[bytes], bytes]
) -> Path:
    """A copy of the run, the file of that number below a folder of it changed."""
    run = folder / "run"
    shutil.copytree(shared.run, run)
    inside = [path for path in sorted(run.rglob("*")) if path.is_file() and path.stat().st_size]
    record = [path for path in inside if "record" in path.relative_to(run).parts]
    last = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    files = record if kind == "record" else [path for path in inside if last in path.parents]
    path = files[number % len(files)]
    path.write_bytes(change(path.read_bytes()))
    write(run / "evil.py", EVIL)
    return run


def records() -> Iterator[Case]:
    for number in range(5):
        for name, change in BROKEN.items():

            def report(folder: Path, shared: Shared, number=number, change=change):
                return [
                    "report",
                    str(_copied(folder, shared, "record", number, change)),
                    "-o",
                    "page.html",
                ]

            def replay(folder: Path, shared: Shared, number=number, change=change):
                run = _copied(folder, shared, "record", number, change)
                return ["replay", str(run), "--recipe", "rloo", "-o", "figure.png"]

            yield Case("report", "record", f"{number}-{name}", report)
            yield Case("replay", "record", f"{number}-{name}", replay)


def results() -> Iterator[Case]:
    """Results of an evaluation that are damaged, or of others, where the same is asked again."""
    for number in range(5):
        for name, change in BROKEN.items():

            def again(folder: Path, shared: Shared, number=number, change=change):
                out = folder / "results"
                shutil.copytree(shared.results, out)
                files = [path for path in sorted(out.rglob("*")) if path.is_file()]
                path = files[number % len(files)]
                path.write_bytes(change(path.read_bytes()))
                more = ["--samples", "1", "--limit", "2", "--split", "train", "--output", str(out)]
                return ["eval", "m", str(shared.rows), *more, "--base-url", shared.url]

            yield Case("eval", "results", f"{number}-{name}", again)


def checkpoints() -> Iterator[Case]:
    for number in range(0, 16, 2):
        for name in ("empty", "random", "a-pickle", "a-list"):

            def resume(folder: Path, shared: Shared, number=number, name=name):
                run = _copied(folder, shared, "checkpoint", number, BROKEN[name])
                made = settings(shared.model, shared.rows, run)
                path = write(folder / "run.yaml", yaml.safe_dump(made))
                return ["train", str(path), "--resume", "--dry-run"]

            yield Case("train", "checkpoint", f"{number}-{name}", resume)
    theirs = {
        "a-recipe": {"recipe": "evil.py:f"},
        "a-sampling": {"data": {"sampling": "evil.py:F"}},
        "a-reward": {"rewards": {"evil.py:f": 1.0}},
    }
    for name, changed in theirs.items():

        def foreign(folder: Path, shared: Shared, changed=changed):
            run = folder / "run"
            shutil.copytree(shared.run, run)
            write(run / "evil.py", EVIL)
            write(folder / "work" / "evil.py", EVIL)
            saved = yaml.safe_load((run / "config.yaml").read_text())
            for section, options in changed.items():
                both = isinstance(options, dict) and isinstance(saved.get(section), dict)
                saved[section] = {**saved[section], **options} if both else options
            write(run / "config.yaml", yaml.safe_dump(saved))
            made = settings(shared.model, shared.rows, run)
            path = write(folder / "run.yaml", yaml.safe_dump(made))
            return ["train", str(path), "--resume", "--dry-run"]

        def asked(folder: Path, shared: Shared, foreign=foreign):
            foreign(folder, shared)
            more = ["--samples", "1", "--limit", "1", "--max-tokens", "2", "--split", "train"]
            run = ["--as", str(folder / "run"), "--output", "out"]
            return ["eval", str(shared.model), str(shared.rows), *more, *run]

        yield Case("train", "checkpoint", f"of-others-{name}", foreign)
        yield Case("eval", "checkpoint", f"of-others-{name}", asked)


# ---- servers and journals --------------------------------------------------------------------


def servers() -> Iterator[Case]:
    quick = ["--timeout", "2", "--retries", "0"]
    for name in SERVERS:

        def expand(folder: Path, shared: Shared, name=name):
            rows = write(folder / "rows.jsonl", GOOD.splitlines()[0] + "\n")
            more = ["--output", "out.parquet", "--rewrites", "1", "--base-url", shared.url]
            return ["expand", str(rows), *more, "--model", name, *quick]

        def evaluate(folder: Path, shared: Shared, name=name):
            more = ["--samples", "1", "--limit", "1", "--split", "train", "--output", "out"]
            return ["eval", name, str(shared.rows), *more, "--base-url", shared.url, *quick]

        yield Case("expand", "server", name, expand)
        yield Case("eval", "server", name, evaluate)
    for name, url in {
        "no-address": "x",
        "a-file": "file:///etc/passwd",
        "nobody": "http://127.0.0.1:9/v1",
        "controls": "http://\x1b[2J/v1",
        "empty-port": "http://127.0.0.1:99999/v1",
    }.items():

        def at(folder: Path, shared: Shared, url=url):
            rows = write(folder / "rows.jsonl", GOOD.splitlines()[0] + "\n")
            more = ["--output", "out.parquet", "--rewrites", "1", "--base-url", url]
            return ["expand", str(rows), *more, "--model", "m", *quick]

        yield Case("expand", "server", f"at-{name}", at)


LINES: dict[str, Any] = {
    "empty": b"",
    "random": bytes(range(256)) * 10,
    "a-list": b"[1]\n",
    "numbers": b"7\n8\n",
    "nulls": b"null\n" * 5,
    "deep": b"[" * 100_000 + b"\n",
    "cut": b'{"key": "a", "value": {"te',
    "pickle": pickle.dumps(Pickled()),
    "huge": b'{"a": "' + b"x" * 20_000_000 + b'"}\n',
    "surrogates": b'{"key": "\\ud800", "value": "\\udfff"}\n',
    "twice": b'{"key": "a", "key": "b"}\n',
    "nan": b'{"key": NaN, "value": Infinity}\n',
}


def journals() -> Iterator[Case]:
    for name, content in LINES.items():

        def expand(folder: Path, shared: Shared, content=content):
            rows = write(folder / "rows.jsonl", GOOD.splitlines()[0] + "\n")
            write(folder / "work" / "out.parquet.journal.jsonl", content)
            more = ["--output", "out.parquet", "--rewrites", "1", "--base-url", shared.url]
            return ["expand", str(rows), *more, "--model", "m", "--retries", "0", "--timeout", "2"]

        yield Case("expand", "journal", name, expand)
    for what in ("pipe", "folder", "loop", "device"):

        def odd(folder: Path, shared: Shared, what=what):
            rows = write(folder / "rows.jsonl", GOOD.splitlines()[0] + "\n")
            path = folder / "journal.jsonl"
            made: dict[str, Callable[[], Any]] = {
                "pipe": lambda: os.mkfifo(path),
                "folder": path.mkdir,
                "loop": lambda: path.symlink_to(path),
                "device": lambda: path.symlink_to("/dev/full"),
            }
            made[what]()
            more = ["--output", "out.parquet", "--rewrites", "1", "--base-url", shared.url]
            given = ["--model", "m", "--retries", "0", "--timeout", "2", "--journal", str(path)]
            return ["expand", str(rows), *more, *given]

        yield Case("expand", "journal", f"a-{what}", odd)


# ---- paths, words and environment ------------------------------------------------------------

OUTPUTS = {
    "empty": "",
    "root": "/",
    "full": "/dev/full",
    "proc": "/proc/x/y",
    "long": "a" * 300,
    "controls": "/proc/\x1b[2J\x1b]0;x\x07",
    "no-text": os.fsdecode(b"/proc/\xff\xfe"),
    "below-a-file": "/etc/passwd/x",
    "nobody": "~nobody-here/x",
}


def paths() -> Iterator[Case]:
    for name, output in OUTPUTS.items():

        def report(folder: Path, shared: Shared, output=output):
            return ["report", str(shared.run), "-o", output]

        def replay(folder: Path, shared: Shared, output=output):
            return ["replay", str(shared.run), "--recipe", "rloo", "-o", output]

        def expand(folder: Path, shared: Shared, output=output):
            return ["expand", str(shared.rows), "--output", output, "--rewrites", "1", "--built-in"]

        def rejects(folder: Path, shared: Shared, output=output):
            bad = write(folder / "rows.jsonl", GOOD + '{"question": "", "answer": "1"}\n')
            return ["check", str(bad), "--model", str(shared.model), "--rejects", output]

        def evaluate(folder: Path, shared: Shared, output=output):
            more = ["--samples", "1", "--limit", "1", "--max-tokens", "2", "--split", "train"]
            return ["eval", str(shared.model), str(shared.rows), *more, "--output", output]

        def run(folder: Path, shared: Shared, output=output):
            return ["report", output, "-o", "page.html"]

        def replayed(folder: Path, shared: Shared, output=output):
            return ["replay", output, "--recipe", "rloo"]

        made = {
            "report": report,
            "replay": replay,
            "expand": expand,
            "check": rejects,
            "eval": evaluate,
        }
        if name == "root":  # where eval would write, if it may
            del made["eval"]
        for entry, prepare in made.items():
            names = (output, str(Path(output).parent), "rows.jsonl", "expected")
            yield Case(entry, "path", f"to-{name}", prepare, names=names)
        yield Case("report", "path", f"of-{name}", run, names=(output, "has no record"))
        yield Case("replay", "path", f"of-{name}", replayed, names=(output, "has no record"))


WORDS: dict[str, list[str]] = {
    "check-columns": ["check", "{rows}", "--model", "{model}", "--question", "\x1b[2J"],
    "check-layout": ["check", "{rows}", "--model", "{model}", "--layout", "\x1b[2J"],
    "check-pixels": ["check", "{rows}", "--model", "{model}", "--max-pixels", "-1"],
    "check-tokens": ["check", "{rows}", "--model", "{model}", "--max-prompt-tokens", "99999999999"],
    "check-override": ["check", "{rows}", "--model", "{model}", "--run.seed", "1"],
    "check-test": ["check", "{rows}", "--model", "{model}", "--test", "/dev/zero"],
    "train-nothing": ["train"],
    "train-controls": ["train", "\x1b[2J.yaml"],
    "train-a-folder": ["train", "/"],
    "train-a-device": ["train", "/dev/zero"],
    "train-memory": ["train", "/proc/self/mem"],
    "eval-samples": ["eval", "{model}", "{rows}", "--samples", "99999999999999999999"],
    "eval-seed": ["eval", "{model}", "{rows}", "--seed", "-1", "--limit", "1", "--split", "train"],
    "eval-temperature": [
        "eval",
        "{model}",
        "{rows}",
        "--temperature",
        "nan",
        "--limit",
        "1",
        "--split",
        "train",
    ],
    "eval-name": [
        "eval",
        "{model}",
        "{rows}",
        "--name",
        "../../x\x1b[2J",
        "--limit",
        "1",
        "--split",
        "train",
        "--samples",
        "1",
        "--max-tokens",
        "2",
    ],
    "eval-benchmark": ["eval", "{model}", "mathvista=/etc/passwd"],
    "eval-nobody": ["eval", "{model}", "nobody\x1b[2J"],
    "expand-variants": [
        "expand",
        "{rows}",
        "--output",
        "o.parquet",
        "--rewrites",
        "999999999",
        "--built-in",
    ],
    "expand-wordings": [
        "expand",
        "{rows}",
        "--output",
        "o.parquet",
        "--rewrites",
        "1",
        "--wordings",
        "/etc/passwd",
    ],
    "expand-wordings-device": [
        "expand",
        "{rows}",
        "--output",
        "o.parquet",
        "--rewrites",
        "1",
        "--wordings",
        "/dev/zero",
    ],
    "replay-recipe": ["replay", "{run}", "--recipe", "\x1b[2J"],
    "replay-set": ["replay", "{run}", "--recipe", "shuffle-r1", "--set", "fraction=.inf"],
    "replay-set-bomb": ["replay", "{run}", "--recipe", "shuffle-r1", "--set", "keep=" + "[" * 5000],
    "replay-set-huge": ["replay", "{run}", "--recipe", "pods", "--set", "fraction=99999999999999"],
    "report-many": ["report", *["{run}"] * 30, "-o", "page.html"],
    "report-a-file": ["report", "{rows}", "-o", "page.html"],
    "demo-recipes": ["demo", "--recipes", "nobody\x1b[2J", "--output", "o"],
}
ENVIRONMENT: dict[str, dict[str, str]] = {
    "processes": {"WORLD_SIZE": "x", "RANK": "y"},
    "ranks": {"LOCAL_RANK": "-7"},
    "fsdp": {"ACCELERATE_USE_FSDP": "maybe"},
    "deepspeed": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "x"},
    "columns": {"COLUMNS": "-5"},
    "no-home": {"HOME": "/gone"},
    "no-temporary": {"TMPDIR": "/gone"},
    "cache": {"HF_HOME": "/proc/x", "HF_DATASETS_CACHE": "/proc/x"},
    "key": {"OPENAI_API_KEY": "a\nb"},
    "proxies": {"HTTP_PROXY": "http://192.0.2.1:1", "ALL_PROXY": "socks5://192.0.2.1:1"},
    "ascii": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    "gpu": {"CUDA_VISIBLE_DEVICES": "x"},
}


def words() -> Iterator[Case]:
    for name, given in WORDS.items():

        def prepare(folder: Path, shared: Shared, given=given):
            known = {"rows": shared.rows, "model": shared.model, "run": shared.run}
            return [word.format(**known) if word.startswith("{") else word for word in given]

        yield Case(given[0] if given[0] != "demo" else "api", "words", name, prepare)
    for name, variables in ENVIRONMENT.items():

        def started(folder: Path, shared: Shared):
            return ["train", configured(folder, shared), "--dry-run"]

        def asked(folder: Path, shared: Shared):
            more = ["--samples", "1", "--limit", "1", "--split", "train", "--output", "out"]
            return [
                "eval",
                "m",
                str(shared.rows),
                *more,
                "--base-url",
                shared.url,
                "--retries",
                "0",
            ]

        names = (*variables, "environment")
        yield Case("train", "environment", name, started, variables, names)
        yield Case("eval", "environment", name, asked, variables, names)


# ---- Python ----------------------------------------------------------------------------------


def api() -> Iterator[Case]:
    values: dict[str, Any] = {
        "nothing": {},
        "none": {"model": None, "data": None, "run": None},
        "lists": {"model": [], "data": [], "run": []},
        "bytes": {"model": {"path": b"m"}, "data": {"train": b"x"}, "run": {"output": b"o"}},
        "numbers": {1: 2},
        "itself": None,
        "objects": {"model": object(), "data": Pickled(), "run": 1j},
    }
    itself: dict[str, Any] = {}
    itself["model"] = itself
    values["itself"] = itself
    for name, given in values.items():

        def checked(folder: Path, shared: Shared, given=given):
            def call() -> None:
                from vantage import config

                config.parse(given)

            return call

        yield Case("api", "config", name, checked)
    recipes: dict[str, Any] = {
        "a-number": 7,
        "a-list": ["grpo"],
        "no-name": {"fraction": 1},
        "nobody": "nobody",
        "an-option": {"name": "grpo", "evil": 1},
        "a-module": "os:system",
        "a-device": "/dev/zero:f",
        "a-folder": "/:f",
        "a-long-name": "a" * 100_000,
        "controls": "\x1b[2J:f",
        "colons": ":" * 100,
    }
    for name, spec in recipes.items():

        def parsed(folder: Path, shared: Shared, spec=spec):
            def call() -> None:
                from vantage.methods.recipe import parse_recipe

                parse_recipe(spec)

            return call

        def sampled(folder: Path, shared: Shared, spec=spec):
            def call() -> None:
                from vantage.questions.sampling import sampling

                sampling(spec, 3, 0)

            return call

        yield Case("api", "recipe", name, parsed)
        yield Case("api", "sampling", name, sampled)
    answers = {
        "brackets": "(" * 100_000,
        "boxes": "\\boxed{" * 20_000,
        "powers": "\\boxed{9^{9^{9^{9}}}}",
        "factorials": "\\boxed{99999!!!!}",
        "fractions": "\\boxed{" + "\\frac{1}{" * 3_000 + "}",
        "thoughts": "<think>" * 50_000,
        "tags": "<answer>" * 50_000,
        "spaces": "\\boxed{" + " " * 1_000_000 + "}",
        "digits": "\\boxed{" + "9" * 1_000_000 + "}",
        "commas": "\\boxed{" + "1," * 100_000 + "}",
        "python": "\\boxed{__import__('os').system('touch canary')}",
        "nul": "\\boxed{\0}",
        "surrogates": "\\boxed{\ud800}",
        "ranges": "\\boxed{range(10**12)}",
        "sums": "\\boxed{\\sum_{n=1}^{10^{12}} n!}",
        "matrices": "\\boxed{\\begin{matrix}" + "1 &" * 20_000 + "\\end{matrix}}",
    }
    for name, text in answers.items():

        def graded(folder: Path, shared: Shared, text=text):
            def call() -> None:
                from vantage.rewards import REWARDS

                for reward in REWARDS.values():
                    reward(prompts=["a?"], completions=[text], answer=["7"], choices=[["1", "2"]])

            return call

        yield Case("api", "answer", name, graded)


ALL = (
    *(texts_of_configurations, sections_of_configurations, values_of_options),
    *(data_of_files, data_of_places, pictures, models, records, results, checkpoints),
    *(servers, journals, paths, words, api),
)


def every() -> list[Case]:
    """All cases."""
    return [case for part in ALL for case in part()]
