"""Whether a data set has the rows and columns that a trainer will ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from datasets import Dataset, IterableDataset

from vantage.errors import ConfigError, InputError
from vantage.questions.column_kinds import Data, held
from vantage.questions.column_roles import sample
from vantage.questions.variants import Variants

# What every engine hands to reward functions besides the columns, and what TRL does.
FROM_ANY = {"prompts", "completions"}
FROM_TRL = FROM_ANY | {"completion_ids", "trainer_state", "log_extra", "log_metric"}

# Columns that the model sees.
SHOWN = ("prompt", "image", "images")


def named(eval_dataset: Any) -> dict[str, Any]:
    """The evaluation sets, each with a name for messages."""
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
    """Refuse data without rows, or without a column that is needed.

    Args:
        name: of the data set, for the message.
        rows: the data set.
        rewards: reward functions, or models.
        variants: how prompts are made of the rows, where they are varied.
        supplied: what the engine hands to reward functions besides columns.
        withheld: columns that it keeps from them.
        streamed: whether rows may come as a stream, in their own order.

    Raises:
        ConfigError: something else than a `datasets.Dataset`, or a stream.
        InputError: no rows, or a column is missing.
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
    """Refuse pictures and videos in columns that neither the model nor a reward asks for.

    Args:
        name: of the data set, for the message.
        rows: the data set; of a stream, and of rows with a format, the first one is looked at.
        rewards: reward functions, or models; what a function names as a parameter it asks for.

    Raises:
        InputError: there is such a column; says how to use it and how to leave it out.
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
    """How pictures come before the model, where no others do."""
    if data.kind(column) != "picture" or {"image", "images"} & set(data.names):
        return ""
    kind = "images" if data.held[column].several else "image"
    return f"rename_column({column!r}, {kind!r}) shows them to it, "


def _is_made(rows: Dataset | IterableDataset) -> bool:
    return isinstance(rows, IterableDataset) or rows.format["type"] is not None


def _names(rows: Dataset | IterableDataset) -> list[str]:
    """Columns that a row has once it is read; none where there are no rows."""
    if isinstance(rows, IterableDataset):
        return list(next(iter(rows), {}))
    if not len(rows):
        return []
    # A transform can make or leave out columns.
    return list(rows[0]) if _is_made(rows) else list(rows.format["columns"])


def _columns(reward: Callable) -> list[str]:
    """Columns that a reward function cannot do without."""
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(reward).parameters.values()
        if parameter.kind in named and parameter.default is parameter.empty
    ]
