"""Question sets for an evaluation: a benchmark's published files, or the user's own data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from vantage import files
from vantage.errors import ConfigError, InputError
from vantage.evaluation import rules
from vantage.evaluation.benchmarks import BENCHMARKS, Benchmark
from vantage.evaluation.items import Item
from vantage.evaluation.results import label
from vantage.questions.faults import Fault, message
from vantage.questions.layouts import Columns
from vantage.questions.loading import load
from vantage.questions.parallel import over_rows
from vantage.questions.pictures import stays
from vantage.questions.reading import Reader, undecoded
from vantage.questions.schema import pictures, read
from vantage.questions.tables import READERS, Rows, names, open_rows
from vantage.rewards.choice import chosen
from vantage.rewards.text import boxed


@dataclass(frozen=True)
class QuestionSet:
    """A benchmark with its questions, which are read lazily.

    Attributes:
        benchmark: Defines the scoring and the measures.
        read: Function that reads a question by its number.
        size: Number of questions.
        source: Path or hub name of the questions, and the split.
    """

    benchmark: Benchmark
    read: Callable[[int], Item]
    size: int
    source: str

    @property
    def name(self) -> str:
        """Name of the benchmark."""
        return self.benchmark.name

    @property
    def file(self) -> str:
        """Name of the result files, without suffix."""
        return label(self.name)

    def items(self) -> list[Item]:
        """Read all questions without images, which scoring does not need."""
        return [_without_pictures(self.read(number)) for number in range(self.size)]


def question_sets(words: Sequence[str], **options: Any) -> list[QuestionSet]:
    """Open the question sets named on the command line; see `question_set`.

    Raises:
        ConfigError: If two question sets share a name, and so their result files.
    """
    found = [question_set(word, **options) for word in words]
    if len({one.file.casefold() for one in found}) < len(found):
        names = ", ".join(one.name for one in found)
        raise ConfigError(f"{names}: expected different names: give each only once, or rename it")
    return found


def question_set(wanted: str, *, limit: int | None = None, **options: Any) -> QuestionSet:
    """Open the question set named by a word on the command line.

    Args:
        wanted: The name of a benchmark; a benchmark with its copy on disk, such as
            "mathvista=/data/MathVista"; or your own data as a file, a directory, a name on the
            hub, or "NAME=PATH" to name it.
        limit: Use only this many questions, from the start.
        options: Keyword arguments of `own`.

    Raises:
        ConfigError, InputError: See `of_benchmark` and `own`.
    """
    name, named, copy = wanted.partition("=")
    if name in BENCHMARKS:
        found = of_benchmark(BENCHMARKS[name], files.home(copy) or None)
    elif named and not Path(wanted).exists():
        found = own(copy, name=name, **options)
    else:
        found = own(wanted, **options)
    size = found.size if limit is None else min(limit, found.size)
    return replace(found, size=size)


def of_benchmark(benchmark: Benchmark, copy: str | None = None) -> QuestionSet:
    """Open and check the questions of a benchmark.

    Args:
        benchmark: The benchmark.
        copy: File or directory with its published files; None to load them from the hub.

    Raises:
        InputError: If there are no such files, or rows cannot be asked or scored; names the rows.
    """
    source = copy or benchmark.source
    parts = _open(benchmark, copy)
    places = [(rows, root, n) for rows, root in parts for n in range(len(rows))]
    columns = {name for rows, _ in parts for name in names(rows)}
    for need in (benchmark.question, benchmark.answer):
        if isinstance(need, str) and not columns & {one.split(".")[0] for one in need.split("|")}:
            there = ", ".join(sorted(columns))
            wanted = " or ".join(map(repr, need.split("|")))
            raise InputError(
                f"{source}: {benchmark.name} needs the column {wanted}; the columns are {there}"
            )

    def read(number: int) -> Item:
        rows, root, place = places[number]
        row = rows[place]
        if isinstance(row, Fault):
            raise InputError(row.reason)
        return benchmark.item(row, number, root)

    found = QuestionSet(benchmark, read, len(places), _place(source, benchmark.split))
    _check(found, source)
    return found


def own(
    source: str, *, name: str | None = None, split: str = "test", columns: Columns | None = None
) -> QuestionSet:
    """Open the user's own questions, in any layout that training reads, scored by `accuracy`.

    Args:
        source: A file, a directory or a name on the hub.
        name: Name in tables and of result files; defaults to the file name without suffix.
        split: The split to use, if there are several.
        columns: The columns to use; see `vantage.questions.loading.load`.

    Raises:
        ConfigError: If the name is that of a benchmark.
        InputError: If rows cannot be asked or have no answer.
    """
    title = name or Path(source).stem
    like = label(title).casefold()
    if like in BENCHMARKS:
        raise ConfigError(
            f"{source} has the name of the benchmark {like!r}: write {like}={source} to use it as "
            f"that benchmark, or my-{like}={source} to use it as your own data"
        )
    rows = load(source, split=split, columns=columns)
    if "answer" not in rows.column_names:
        raise InputError(f"{source} has no answers: name their column with --answer")
    benchmark = Benchmark(title, title, source, split, rules.mathematics, answer_of=boxed)
    reader = Reader(rows)

    def item(number: int) -> Item:
        row = reader[number]
        return Item(str(number), read(row), str(row["answer"]), (), {}, str(number), row)

    return QuestionSet(benchmark, item, len(rows), _place(source, split))


def _place(source: str, split: str) -> str:
    """Describe the source of questions, with an absolute path."""
    path = Path(files.home(source))
    return f"{path.resolve() if path.exists() else source}, {split}"


def _without_pictures(item: Item) -> Item:
    row = {name: value for name, value in item.row.items() if not _is_picture(value)}
    return replace(item, question=replace(item.question, images=()), row=row)


def _is_picture(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, bytes) or (isinstance(first, dict) and "bytes" in first)


def _open(benchmark: Benchmark, copy: str | None) -> list[tuple[Rows, Path | None]]:
    """Open the rows of all splits, with the directory that image paths are relative to."""
    splits = benchmark.split.split("+")
    if copy is None:
        opened = [open_rows(benchmark.source, one, benchmark.config) for one in splits]
    elif not Path(copy).is_dir():
        opened = [open_rows(copy, splits[0])]
    elif folders := _folders(benchmark, Path(copy)):
        opened = [([_in_folder(one, Path(copy)) for one in folders], Path(copy))]
    else:
        # A file that holds several splits matches each of them; `fromkeys` reads it once.
        files = dict.fromkeys(file for one in splits for file in _files(Path(copy), one))
        opened = [(open_rows(str(file), splits[0])[0], Path(copy)) for file in files]
        opened = opened or [open_rows(copy, one) for one in splits]
    return [(undecoded(rows) if isinstance(rows, Dataset) else rows, root) for rows, root in opened]


def _folders(benchmark: Benchmark, copy: Path) -> list[Path]:
    """Return the files of a copy with a folder for every question, in numeric order."""
    if benchmark.in_folders is None:
        return []
    split = copy / benchmark.split
    found = (split if split.is_dir() else copy).glob(f"*/{benchmark.in_folders}")
    files = (file for file in found if file.is_file() and stays(file, copy))
    return sorted(files, key=lambda file: (len(file.parent.name), file.parent.name))


def _in_folder(file: Path, root: Path) -> dict[str, Any] | Fault:
    """Read the question in a folder; the column `folder` holds the folder's name."""
    folder = str(file.parent.relative_to(root))
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return Fault.of(0, "", folder, f"{folder}: not valid JSON: {error}")
    if not isinstance(row, dict):
        return Fault.of(0, "", folder, f"{folder}: expected an object with the question")
    return {**row, "folder": folder}


def _files(folder: Path, split: str) -> list[Path]:
    """Find the files of a split by the hub's naming, in any folder; else the only table."""
    every = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix in READERS and file.is_file() and stays(file, folder)
    )
    for suffix in READERS:
        found = [
            file
            for file in every
            if file.suffix == suffix and (file.stem == split or file.stem.startswith(f"{split}-"))
        ]
        if found:
            return found
    return every if len(every) == 1 else []


def _check(found: QuestionSet, source: str) -> None:
    """Check every question, so that none fails in the middle of an evaluation."""
    title = f"Checking {found.benchmark.title}"
    looked = over_rows(lambda number: _looked(found, number), found.size, title)
    faults = [one for one in looked if isinstance(one, Fault)]
    again = Counter(one for one in looked if isinstance(one, str))
    faults += [
        Fault.of(number, "", one, f"{again[one]} questions have this id")
        for number, one in enumerate(looked)
        if isinstance(one, str) and again[one] > 1
    ]
    if faults:
        raise InputError(message(source, faults))


def _looked(questions: QuestionSet, number: int) -> str | Fault:
    """Return the id of a question, or its fault."""
    try:
        item = questions.read(number)
        for shown in pictures(item.question):
            shown.unread()
    except InputError as error:
        return Fault.of(number, "", "", str(error))
    # A row with other columns fails in any function of the benchmark.
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        reason = f"not a row of {questions.benchmark.title}: {error!r}"
        return Fault.of(number, "", "", reason)
    if item.options and not chosen(item.reference, item.reference, item.options):
        reason = f"the answer names none of the {len(item.options)} options"
        return Fault.of(number, "", item.reference, reason)
    return item.id
