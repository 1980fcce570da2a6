"""Data sets as people have them, with the columns that training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Image, List, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError

from vantage.errors import InputError, nearest, some

OURS = ("prompt", "answer", "image", "images")
FEATURES = {"image": Image(), "images": List(Image())}
READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}


def load(
    source: str,
    *,
    split: str,
    question: str,
    answer: str | None,
    image: str | None = None,
    images: str | None = None,
) -> Dataset:
    """Rows with `prompt`, `answer` and, if there are pictures, `image` or `images`.

    Other columns stay as they are. Pictures are decoded when a row is read, not before.

    Args:
        source: a file (parquet, jsonl, json, csv), a directory, or a name on the hub.
        split: which split, where there are several.
        question: column with the question, a text or a conversation.
        answer: column with the reference answer, None where there is none.
        image: column with one picture a row (bytes, a path, or empty).
        images: column with a list of pictures a row.

    Raises:
        InputError: no such source, split or column, no rows, or empty answers; names them.
    """
    rows = _open(source, split)
    wanted = {"prompt": question, "answer": answer, "image": image, "images": images}
    for column in filter(None, wanted.values()):
        if column not in rows.column_names:
            raise InputError(
                f"{source}: no column {column!r}; {nearest(column, rows.column_names)}"
            )
    if not len(rows):
        raise InputError(f"{source}: split {split!r} has no rows")
    rows = _renamed(rows, {old: new for new, old in wanted.items() if old is not None})
    if answer is not None:
        _check_answers(source, answer, rows)
    folder = Path(source).parent if Path(source).is_file() else Path(source)
    for new in FEATURES:
        if new in rows.column_names:
            rows = _pictures(source, wanted[new] or new, rows, new, folder)
    return _conversations(rows)


def _open(source: str, split: str) -> Dataset:
    path = Path(source)
    if path.suffix in READERS and not path.is_file():
        raise InputError(f"{source}: no such file (looked in {Path.cwd()})")
    if path.is_file() and path.suffix not in READERS:
        raise InputError(f"{source}: expected a file ending in {', '.join(READERS)}")
    try:
        if path.is_file():
            return load_dataset(READERS[path.suffix], data_files=source, split="train")
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            return _split(source, load_from_disk(source), split)
        return _split(source, load_dataset(source), split)
    except InputError:
        raise
    except (OSError, ValueError, DatasetGenerationError) as error:
        why = error.__cause__ or error
        raise InputError(f"{source}: cannot be read as a data set: {why}") from error


def _split(source: str, loaded: Dataset | DatasetDict, split: str) -> Dataset:
    if isinstance(loaded, Dataset):
        return loaded
    if split not in loaded:
        raise InputError(f"{source}: no split {split!r}; {nearest(split, map(str, loaded))}")
    return loaded[split]


def _renamed(rows: Dataset, names: dict[str, str]) -> Dataset:
    """Columns under the names that training uses; others in the way of these names go."""
    in_the_way = [name for name in OURS if name in rows.column_names and name not in names]
    aside = {old: f"wanted:{new}" for old, new in names.items()}
    rows = rows.remove_columns(in_the_way).rename_columns(aside)
    return rows.rename_columns({f"wanted:{new}": new for new in names.values()})


def _check_answers(source: str, column: str, rows: Dataset) -> None:
    answers = rows["answer"]
    empty = [row for row, answer in enumerate(answers) if answer is None or not str(answer).strip()]
    if empty:
        raise InputError(f"{source}: column {column!r} is empty in row {some(empty)}")


def _pictures(source: str, column: str, rows: Dataset, new: str, folder: Path) -> Dataset:
    """A column of pictures that decode themselves; relative paths start at `folder`."""
    feature = FEATURES[new]
    if rows.features[new] == feature:
        return rows
    located = rows.map(lambda value: {new: _located(value, folder)}, input_columns=new)
    try:
        return located.cast_column(new, feature)
    except (TypeError, ValueError, NotImplementedError) as error:
        expected = "a picture a row" if new == "image" else "a list of pictures a row"
        raise InputError(
            f"{source}: column {column!r} does not hold {expected}: {error}"
        ) from error


def _located(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_located(item, folder) for item in value]
    if isinstance(value, dict) and value.get("path") and value.get("bytes") is None:
        return {**value, "path": str(folder / value["path"])}
    return str(folder / value) if isinstance(value, str) and "://" not in value else value


def _conversations(rows: Dataset) -> Dataset:
    """`prompt` as a conversation."""
    return rows.map(
        lambda prompt: {"prompt": _conversation(prompt)}, input_columns="prompt", desc="Prompts"
    )


def _conversation(prompt: Any) -> Any:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
