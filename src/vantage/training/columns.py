"""Whether a data set has the rows and columns that a trainer will ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from datasets import Dataset, IterableDataset

from vantage.errors import ConfigError, InputError
from vantage.questions.variants import Variants

# What every engine hands to reward functions besides the columns, and what TRL does.
FROM_ANY = {"prompts", "completions"}
FROM_TRL = FROM_ANY | {"completion_ids", "trainer_state", "log_extra", "log_metric"}


def named(eval_dataset: Any) -> dict[str, Any]:
    """The evaluation sets, each with a name for messages."""
    if eval_dataset is None:
        return {}
    if isinstance(eval_dataset, dict):
        return {f"eval_dataset[{name!r}]": rows for name, rows in eval_dataset.items()}
    return {"eval_dataset": eval_dataset}


def check(
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


def _names(rows: Dataset | IterableDataset) -> list[str]:
    """Columns that a row has once it is read; none where there are no rows."""
    if isinstance(rows, IterableDataset):
        return list(next(iter(rows), {}))
    if not len(rows):
        return []
    formatted = rows.format["type"] is not None  # a transform can make or leave out columns
    return list(rows[0]) if formatted else list(rows.format["columns"])


def _columns(reward: Callable) -> list[str]:
    """Columns that a reward function cannot do without."""
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(reward).parameters.values()
        if parameter.kind in named and parameter.default is parameter.empty
    ]
