"""Data sets as people have them, as rows that training takes; what cannot be trained is told."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from datasets import Dataset

from vantage import files
from vantage.errors import ConfigError, InputError
from vantage.questions import assembly, faults
from vantage.questions.acceptance import Acceptance
from vantage.questions.column_roles import layout_of
from vantage.questions.examining import Examiner
from vantage.questions.faults import Fault
from vantage.questions.gathering import Gathered, gather
from vantage.questions.layouts import Columns
from vantage.questions.reading import undecoded
from vantage.questions.schema import IMAGE
from vantage.questions.tables import Rows, names, open_rows
from vantage.questions.unpacking import Unpacker
from vantage.questions.variants import Variants

logger = logging.getLogger(__name__)

REWRITES = "new_questions"
KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
LARGE = "a number of more than 64 bits"


class Loaded(NamedTuple):
    """Rows that can be trained, and what was wrong with the others.

    Attributes:
        rows: with `prompt` (a conversation), `answer` if there are answers, and `image` or
            `images` as references; other columns as they were.
        faults: of rows that are not among them, under their old numbers.
        remarks: what a user may want to know about the choice of the columns.
    """

    rows: Dataset
    faults: list[Fault]
    remarks: tuple[str, ...] = ()


def load(
    source: str,
    *,
    split: str,
    columns: Columns | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    rejects: Path | None = None,
    **options,
) -> Dataset:
    """Rows to train on. Bad ones stop it, or are skipped and written down.

    Args:
        source, split, columns, options: see `survey`.
        on_bad_row: "error" to refuse the data, "skip" to go on without bad rows.
        rejects: file for the rows that were skipped, as lines of JSON.

    Raises:
        ConfigError, InputError: as `survey`; bad rows under "error", or nothing but bad rows.
    """
    found = survey(source, split=split, columns=columns, **options)
    if found.faults and (on_bad_row == "error" or not len(found.rows)):
        raise InputError(faults.message(source, found.faults))
    if found.faults:
        bad = len({fault.row for fault in found.faults})
        where = ""
        if rejects is not None:
            faults.write(rejects, source, found.faults)
            where = f", written to {rejects}"
        logger.warning(f"{source}: skipped {bad} of {bad + len(found.rows)} rows{where}")
    return found.rows


def survey(
    source: str,
    *,
    split: str,
    columns: Columns | None = None,
    layout: str | None = None,
    image_root: str | None = None,
    variants: Variants | None = None,
    graded_by: Callable[..., list[float]] | None = None,
    takes: Acceptance | None = None,
) -> Loaded:
    """Every row looked at: text, pictures, answer.

    Args:
        source: a file (parquet, jsonl, json, csv, tsv), a directory, or a name on the hub.
        split: which split, where there are several.
        columns: which columns hold what, where the layout does not say it right.
        layout: one of `vantage.questions.layouts.LAYOUTS`; None for the first that fits.
        image_root: directory where paths of pictures start and which they may not leave; by
            default that of the file.
        variants: how prompts are made of the rows, which columns of theirs have to allow;
            `new_questions` is looked at in any case.
        graded_by: the reward that has to accept the reference answer of each row.
        takes: what the model's processor takes; None to try no picture.

    Raises:
        ConfigError: an unknown layout, or no such `image_root`.
        InputError: no such source, split or column, no rows, or of very many none of the first.
    """
    raw, folder = open_rows(source, split)
    variants = variants or Variants()
    allowed_in = variants.transforms.allowed if variants.transforms else None
    for column in filter(None, (variants.rewrites, allowed_in)):
        if column not in names(raw):
            raise InputError(f"{source}: no column {column!r}; there are {', '.join(names(raw))}")
    image_root = files.home(image_root) if image_root else None
    if image_root and not Path(image_root).is_dir():
        raise ConfigError(f"image_root={image_root!r}: no such directory (from {Path.cwd()})")
    root = Path(image_root) if image_root else folder
    if isinstance(raw, Dataset):
        raw = undecoded(raw)
    rewrites_in = variants.rewrites or REWRITES
    besides = (rewrites_in, *filter(None, [allowed_in]))
    found_in = layout_of(raw, columns or Columns(), layout, source, root, besides)
    chosen = found_in.columns
    examiner = Examiner(raw, Unpacker(found_in, root), rewrites_in, allowed_in, graded_by, takes)
    _check_first(source, examiner, len(raw))
    looked = gather(examiner, len(raw), f"Checking {Path(source).name}")
    if not (chosen.image or chosen.images):
        _tell_of_words(source, looked)
    others = assembly.others(raw, chosen)
    found = [
        *looked.faults,
        *_repeated(looked.ids or (), chosen.id),
        *_mixed(raw, [name for name in others if name != examiner.rewrites_in]),
    ]
    found.sort(key=lambda fault: fault.row)
    bad = {fault.row for fault in found}
    good = [row for row in range(len(raw)) if row not in bad]
    rows = assembly.assemble(raw, examiner, looked, good) if good else Dataset.from_dict({})
    return Loaded(rows, found, found_in.remarks)


def _check_first(source: str, examiner: Examiner, rows: int) -> None:
    """Refuse many rows of which the first cannot be used: a small file can hold a billion."""
    if rows <= faults.MANY:
        return
    found = gather(examiner, faults.FIRST, f"Checking the first of {Path(source).name}").faults
    if len({fault.row for fault in found}) == faults.FIRST:
        raise InputError(
            f"{faults.message(source, found)}\nthe others of {rows:,} rows were not looked at"
        )


def _tell_of_words(source: str, looked: Gathered) -> None:
    """Warn of `<image>` in rows that have no pictures: it may be a column that was not named."""
    rows = int(looked.worded_Q.sum())
    if rows:
        logger.warning(
            f"{source}: {rows} rows write {IMAGE}, but no column holds pictures: it is a word "
            "there; where it is none, name their column as columns.image or columns.images"
        )


def _repeated(ids: Sequence[Any], column: str | None) -> list[Fault]:
    """Ids that came before."""
    first: dict[str, int] = {}
    again = []
    for row, name in enumerate(ids):
        if name is not None and first.setdefault(str(name), row) != row:
            before = f"the id of row {first[str(name)]} again"
            again.append(Fault.of(row, column or "", name, before))
    return again


def _mixed(raw: Rows, columns: Iterable[str]) -> list[Fault]:
    """Values of another kind than most of their column, which Arrow could not hold."""
    if isinstance(raw, Dataset):
        return []
    found: list[Fault] = []
    lines = {row: line for row, line in enumerate(raw) if isinstance(line, dict)}
    for column in columns:
        kinds = {row: dict.fromkeys(_kinds(line.get(column))) for row, line in lines.items()}
        counts = Counter(kind for row in kinds.values() for kind in row)
        usual = dict(kind for kind, _ in reversed(counts.most_common()))
        for row, there in kinds.items():
            odd = [(at, kind) for at, kind in there if kind != usual[at] or kind == LARGE]
            if odd:
                (place, kind), *_ = odd
                reason = f"{kind}{place}, where most rows hold {usual[place]}"
                found.append(Fault.of(row, column, lines[row][column], reason))
    return found


def _kinds(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Places in a value, and the kind of what stands there."""
    if type(value) in KINDS:
        large = isinstance(value, int) and not -(2**63) <= value < 2**63
        yield place, LARGE if large else KINDS[type(value)]
    if isinstance(value, list):
        for item in value:
            yield from _kinds(item, f"{place} in the list")
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _kinds(item, f"{place} in {name!r}")
