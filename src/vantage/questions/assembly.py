"""Assemble the good rows into a data set with the column names that training uses.

Images stored as bytes are not copied: their column stays in memory or in a memory-mapped file.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, List, Value, concatenate_datasets

from vantage.errors import InputError
from vantage.questions.conversations import stored
from vantage.questions.examining import Examiner
from vantage.questions.gathering import Gathered
from vantage.questions.layouts import Columns, named
from vantage.questions.reading import PICTURES, held_as, of_arrays
from vantage.questions.schema import in_parts, rewrites
from vantage.questions.tables import Rows, names
from vantage.questions.unpacking import with_listing

OURS = ("prompt", "answer", "image", "images")


def others(raw: Rows, columns: Columns) -> list[str]:
    """Columns kept unchanged: those without a role in training."""
    used = named(columns.question, columns.answer, columns.image, columns.images)
    return [name for name in names(raw) if name not in used and name not in OURS]


def assemble(raw: Rows, examiner: Examiner, looked: Gathered, good: list[int]) -> Dataset:
    """Build the good rows with `prompt`, `answer`, `image` or `images`, and the other columns."""
    columns = examiner.unpacker.columns
    parts = [_prompts(raw, examiner, looked, good)]
    if columns.answer or examiner.unpacker.layout.answered:
        parts.append(of_arrays(answer=pa.chunked_array(looked.answers, pa.string())))
    moved = bool(looked.moved_Q[good].any())
    several = bool(looked.several_Q[good].any())
    both = columns.image and columns.images  # an empty `images` would hide the row's `image`
    for kind in PICTURES:
        column = getattr(columns, kind)
        if column:
            kept = None if moved or several or both else _kept(raw, column, kind)
            held = "images" if several else kind
            parts.append(_anew(raw, examiner, kind, held, set(good)) if kept is None else kept)
    if columns.options:
        parts += _with_options(raw, examiner.rewrites_in, looked, good)
    made = {name for part in parts for name in part.column_names}
    left = [name for name in others(raw, columns) if name not in made]
    if left:
        parts.append(_others(raw, left, examiner.rewrites_in, set(good)))
    rows = concatenate_datasets(parts, axis=1)
    return rows if len(good) == len(rows) else rows.select(good)


def _column(name: str, values: list[Any], good: list[int], feature: Any) -> Dataset:
    """A column with the values of good rows, and None for the others."""
    kept: list[Any] = [None] * len(values)
    for row in good:
        kept[row] = values[row]
    return Dataset.from_dict({name: kept}, Features({name: feature}))


def _with_options(
    raw: Rows, rewrites_in: str | None, looked: Gathered, good: list[int]
) -> list[Dataset]:
    """Columns `choices`, for the reward of that name, and the rewrites with options appended."""
    options = looked.options or [()] * len(raw)
    parts = [_column("choices", options, good, List(Value("string")))]
    if rewrites_in in names(raw):
        lines: Any = raw.select_columns([rewrites_in]) if isinstance(raw, Dataset) else raw
        worded: list[Any] = [None] * len(raw)
        for row in good:
            texts = rewrites(lines[row], rewrites_in)
            worded[row] = [with_listing(text, options[row]) for text in texts]
        parts.append(_column(rewrites_in or "", worded, good, List(Value("string"))))
    return parts


def _prompts(raw: Rows, examiner: Examiner, looked: Gathered, good: list[int]) -> Dataset:
    inside = bool(looked.inside_Q[good].any())
    column = examiner.unpacker.columns.question or ""
    whole = isinstance(raw, Dataset) and column in raw.column_names
    if whole and inside and not looked.changed_Q[good].any():
        return _only(raw, column, "prompt")  # does not copy the images
    if not inside and looked.plain_prompts is not None:
        return of_arrays(prompt=looked.plain_prompts)
    lines: Any = raw
    seen = looked.prompt_list()
    prompts = [seen[row] or examiner.unpacker.told(lines[row]).messages for row in good]
    contents = [message["content"] for prompt in prompts for message in prompt]
    if not all(isinstance(content, str | None) for content in contents):
        prompts = [[_in_parts(message) for message in prompt] for prompt in prompts]
    placed = dict(zip(good, prompts, strict=True))
    return _held("prompt", [placed.get(row) for row in range(len(raw))])


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    """Give all parts of a message the same keys, as an Arrow column requires."""
    parts = in_parts(message["content"])
    even = [{name: part.get(name) for name in ("type", "text", "image")} for part in parts]
    return {**message, "content": even or None}


def _only(raw: Dataset, column: str | None, name: str) -> Dataset:
    kept = raw.select_columns([column])
    return kept if column == name else kept.rename_column(column, name)


def _kept(raw: Rows, column: str, kind: str) -> Dataset | None:
    """The column without a copy; None if its type cannot hold image bytes, such as numbers."""
    if not isinstance(raw, Dataset):
        return None
    try:
        return held_as(_only(raw, column, kind), kind, PICTURES[kind])
    except (TypeError, ValueError, NotImplementedError):
        return None


def _anew(raw: Rows, examiner: Examiner, kind: str, held: str, good: set[int]) -> Dataset:
    """Copy the images of the columns of `kind` to a new column `held`."""
    values: list[Any] = []
    for row in range(len(raw)):
        source: Any = raw[row] if row in good else {}
        told = examiner.unpacker.told(source) if row in good else None
        pictures = examiner.unpacker.pictures(source, kind, told)
        found = [stored(image) for image in pictures]
        values.append((found or None) if held == "images" else next(iter(found), None))
    return Dataset.from_dict({held: values}, Features({held: PICTURES[held]}))


def _others(raw: Rows, columns: list[str], rewrites_in: str | None, good: set[int]) -> Dataset:
    if isinstance(raw, Dataset):
        return raw.select_columns(columns)
    lines: list[Any] = [line if row in good else {} for row, line in enumerate(raw)]
    values = {name: [line.get(name) for line in lines] for name in columns}
    if rewrites_in in values:
        values[rewrites_in] = [rewrites(line, rewrites_in) for line in lines]
    return concatenate_datasets([_held(name, values[name]) for name in values], axis=1)


def _held(name: str, values: list[Any]) -> Dataset:
    try:
        return Dataset.from_dict({name: values})
    except (ValueError, TypeError, OverflowError, NotImplementedError) as error:
        raise InputError(
            f"column {name!r} cannot be stored: {str(error)[:200]}: use one type for all its values"
        ) from error
