"""Checks that a data set has the rows and columns that a trainer needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from datasets import Dataset, IterableDataset

from vantage.errors import ConfigError, InputError
from vantage.questions.column_kinds import Data, held
from vantage.questions.column_roles import sample
from vantage.questions.variants import Variants

# Arguments of reward functions that are not columns: those of every engine, and those of TRL.
FROM_ANY = {"prompts", "completions"}
FROM_TRL = FROM_ANY | {"completion_ids", "trainer_state", "log_extra", "log_metric"}

# Columns that make up the prompt.
SHOWN = ("prompt", "image", "images")


def named(eval_dataset: Any) -> dict[str, Any]:
    """Evaluation sets by the name used in messages."""
    if eval_dataset is None:
        return {}
    if isinstance(eval_dataset, dict):
        return {f"eval_dataset[{name!r}]": rows for name, rows in eval_dataset.items()}
    return {"eval_dataset": eval_dataset}


def check_columns(
    name: str,
    rows: Any,
    rewards: list,
    variants: Variants | None = None,
    supplied: Collection[str] = FROM_TRL,
    withheld: Collection[str] = (),
    streamed: bool = False,
) -> None:
    """Check that a data set has rows and all columns that are needed.

    Args:
        name: Name of the data set, for error messages.
        rows: The data set.
        rewards: Reward functions or models.
        variants: Variants of the prompts, if any.
        supplied: Arguments of reward functions that the engine supplies besides columns.
        withheld: Columns that the engine does not pass to reward functions.
        streamed: Whether an iterable data set is allowed.

    Raises:
        ConfigError: `rows` is not a `datasets.Dataset`, or is a stream that is not allowed.
        InputError: There are no rows, or a column is missing.
    """
    if not isinstance(rows, (Dataset, IterableDataset) if streamed else Dataset):
        raise ConfigError(
            f"{name} is a {type(rows).__name__}: expected a datasets.Dataset, whose rows can be "
            "read again in any order"
        )
    there = _names(rows)
    if not there:
        raise InputError(f"{name} has no rows")
    wanted = {"prompt": "a prompt"}
    for reward in filter(inspect.isfunction, rewards):
        needed = [column for column in _columns(reward) if column not in supplied]
        wanted |= dict.fromkeys(needed, f"reward function {reward.__name__!r}")
    if variants and variants.rewrites:
        wanted[variants.rewrites] = "variants.rewrites"
    if variants and variants.transforms and variants.transforms.allowed:
        wanted[variants.transforms.allowed] = "variants.transforms.allowed"
    for column, wanted_by in wanted.items():
        if column in withheld and column != "prompt":
            raise InputError(f"{name}: column {column!r} does not reach {wanted_by} in this engine")
        if column not in there:
            raise InputError(
                f"{name} has no column {column!r}, needed by {wanted_by}; "
                f"its columns: {', '.join(there)}"
            )


def check_pictures(name: str, rows: Dataset | IterableDataset, rewards: list) -> None:
    """Reject images and videos in columns that neither the model nor a reward reads.

    Such a data set would silently train without its images.

    Args:
        name: Name of the data set, for error messages.
        rows: The data set. If it is a stream or has a format, only the first row is checked.
        rewards: Reward functions or models. A function reads the columns that its parameters
            name.

    Raises:
        InputError: There is such a column; the message says how to use it or to drop it.
    """
    seen = [next(iter(rows), {})] if _is_made(rows) else list(sample(rows))
    data = Data(name, _names(rows), held(seen, None), seen)
    functions = filter(inspect.isfunction, rewards)
    used = {*SHOWN, *(p for reward in functions for p in inspect.signature(reward).parameters)}
    for column in data.names:
        if column in used or not data.shows(column, ("picture", "video")):
            continue
        if any(data.same(column, shown) for shown in SHOWN if shown in data.names):
            continue
        raise InputError(
            f"{name}: column {column!r} holds {_media(data, column)}, which the model would not "
            f"see: {_renamed(data, column)}remove_columns({column!r}) leaves it out"
        )


def _media(data: Data, column: str) -> str:
    return "videos" if data.shows(column, ("video",)) else "pictures"


def _renamed(data: Data, column: str) -> str:
    """A hint to rename the column, if the data set has no other images."""
    if data.kind(column) != "picture" or {"image", "images"} & set(data.names):
        return ""
    kind = "images" if data.held[column].several else "image"
    return f"rename_column({column!r}, {kind!r}) shows them to it, "


def _is_made(rows: Dataset | IterableDataset) -> bool:
    return isinstance(rows, IterableDataset) or rows.format["type"] is not None


def _names(rows: Dataset | IterableDataset) -> list[str]:
    """Columns of the rows as read; empty without rows."""
    if isinstance(rows, IterableDataset):
        return list(next(iter(rows), {}))
    if not len(rows):
        return []
    # A transform can add or remove columns.
    return list(rows[0]) if _is_made(rows) else list(rows.format["columns"])


def _columns(reward: Callable) -> list[str]:
    """Columns that a reward function requires: its parameters without a default."""
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(reward).parameters.values()
        if parameter.kind in named and parameter.default is parameter.empty
    ]
