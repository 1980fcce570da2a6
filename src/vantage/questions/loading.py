"""Load data sets of any supported layout as training rows, and report unusable rows."""

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
from vantage.questions.gathering import gather
from vantage.questions.layouts import Columns
from vantage.questions.reading import undecoded
from vantage.questions.schema import IMAGE
from vantage.questions.tables import Rows, names, open_rows
from vantage.questions.unpacking import Unpacker
from vantage.questions.variants import Variants

logger = logging.getLogger(__name__)

REWRITES = "new_questions"
KINDS = {bool: "true or false", int: "a number", float: "a number"}
KINDS |= {str: "a text", list: "a list", dict: "an object"}
LARGE = "a number of more than 64 bits"


class Loaded(NamedTuple):
    """Rows to train on, and the faults of the other rows.

    Attributes:
        rows: Data set with `prompt` (a conversation), `answer` if the data have answers, and
            `image` or `images` as references. All other columns are unchanged.
        faults: Faults of the dropped rows, with row numbers of the original data.
        remarks: Notes for the user about the choice of columns.
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
    """Load the rows to train on. A bad row is an error, or is skipped and written to a file.

    Args:
        source, split, columns, options: See `survey`.
        on_bad_row: "error" raises an error, "skip" drops bad rows.
        rejects: JSON Lines file for the faults of skipped rows.

    Raises:
        ConfigError: See `survey`.
        InputError: See `survey`; also a bad row under "error", or no good row at all.
    """
    found = survey(source, split=split, columns=columns, **options)
    if found.faults and (on_bad_row == "error" or not len(found.rows)):
        raise InputError(faults.message(source, found.faults))
    if found.faults:
        bad = len({fault.row for fault in found.faults})
        where = ""
        if rejects is not None:
            faults.write_all(rejects, ((source, fault) for fault in found.faults))
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
    """Check the text, images and answer of every row.

    Args:
        source: A file (parquet, jsonl, json, csv, tsv), a directory, or a data set on the Hub.
        split: Name of the split, if the source has several.
        columns: Columns to use where the layout does not name the right ones.
        layout: One of `vantage.questions.layouts.LAYOUTS`; None to detect the columns.
        image_root: Directory that relative image paths start from and that no path may leave;
            defaults to the directory of the file.
        variants: How prompts are varied. Its columns are checked too; `new_questions` is always
            checked.
        graded_by: Reward function that has to accept the reference answer of each row.
        takes: Image sizes that the model's processor accepts; None skips this check.

    Raises:
        ConfigError: An unknown layout, or an `image_root` that does not exist.
        InputError: A source, split or column that does not exist, no rows, or a large data set
            whose first rows are all unusable.
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
    worded = 0 if chosen.image or chosen.images else int(looked.worded_Q.sum())
    if worded:  # the image column may not be mapped
        logger.warning(
            f"{source}: {worded} rows contain {IMAGE}, but no image column is used, so it is read "
            "as a word; if it is a placeholder, set columns.image or columns.images"
        )
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
    """Reject a large data set early if its first rows are all bad.

    A small compressed file can hold a billion rows, which would take hours to check.
    """
    if rows <= faults.MANY:
        return
    found = gather(examiner, faults.FIRST, f"Checking the first of {Path(source).name}").faults
    if len({fault.row for fault in found}) == faults.FIRST:
        raise InputError(
            f"{faults.message(source, found)}\nthe rest of the {rows:,} rows was not checked"
        )


def _repeated(ids: Sequence[Any], column: str | None) -> list[Fault]:
    """Faults of rows whose id an earlier row has."""
    first: dict[str, int] = {}
    again = []
    for row, name in enumerate(ids):
        if name is not None and first.setdefault(str(name), row) != row:
            before = f"repeats the id of row {first[str(name)]}"
            again.append(Fault.of(row, column or "", name, before))
    return again


def _mixed(raw: Rows, columns: Iterable[str]) -> list[Fault]:
    """Faults of values whose type differs from most of their column: Arrow needs one type."""
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
    """The type of a value and of everything nested in it, each with its position."""
    if type(value) in KINDS:
        large = isinstance(value, int) and not -(2**63) <= value < 2**63
        yield place, LARGE if large else KINDS[type(value)]
    if isinstance(value, list):
        for item in value:
            yield from _kinds(item, f"{place} in the list")
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _kinds(item, f"{place} in {name!r}")
