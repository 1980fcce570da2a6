"""Checks of a record's tables when they are read, so that all other code can trust them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from vantage.methods.rollouts import LARGEST_REWARD
from vantage.record.step import About

LARGEST = 2.0**50  # maximum of counts and seconds, so that sums in float64 stay exact
ANY = float("inf")

# Minimum and maximum of a column, and whether NaN is allowed for a missing value.
RANGES: dict[str, dict[str, tuple[float, float, bool]]] = {
    "batch": {
        "updates": (0, LARGEST, False),
        "generated_tokens": (0, LARGEST, False),
        "done": (0, 1, False),
    },
    "rollouts": {
        "row": (0, ANY, False),
        "epoch": (0, ANY, False),
        "variant": (0, ANY, False),
        "reward": (-LARGEST_REWARD, LARGEST_REWARD, True),
        "trained": (0, ANY, False),
        "tokens": (0, ANY, False),
    },
    "samples": {
        "rollout": (0, ANY, False),
        "advantage": (-LARGEST_REWARD, LARGEST_REWARD, False),
        "pair": (-1, ANY, False),
        "weight": (0, LARGEST_REWARD, False),
        "update": (0, ANY, False),
    },
    "prompts": {"row": (0, ANY, False), "variant": (0, ANY, False)},
    "validations": {"batch": (0, ANY, False), "seconds": (0, LARGEST, False)},
}
# Columns that count the rows from 0, and columns of unique ascending ids.
NUMBERED = {"rollouts": "rollout", "samples": "sample"}
NAMED = {"prompts": "prompt"}
# Fields that are null if the record did not keep their value.
NULL = ("response", "text", "earlier", "later", "pictures", "pictures.picture")


def besides(name: str, columns: Sequence[str]) -> list[str]:
    """Return the columns to read in addition, because they reveal missing rows."""
    known = ["batch", NUMBERED.get(name), NAMED.get(name)]
    return [column for column in known if column is not None and column not in columns]


def wrong(name: str, table: pa.Table, step: int | None) -> str | None:
    """Return what is wrong with a table; None if nothing is.

    Args:
        name: Name of the table.
        table: Some of its columns, including those from `besides`.
        step: Number of the rollout batch that the table belongs to; None for any.
    """
    return next(_faults(name, table, step), None)


def _faults(name: str, table: pa.Table, step: int | None) -> Iterator[str]:
    for column in table.column_names:
        yield from _nulls(column, table[column].combine_chunks(), column in NULL)
        if column in RANGES[name]:
            yield from _outside(column, table[column].to_numpy(), *RANGES[name][column])
    if name == "batch":
        if len(table) != 1:
            yield f"it has {len(table)} rows, expected 1"
        if "seconds" in table.column_names:
            seconds = np.array([v for _, v in table["seconds"][0].as_py()], dtype=float)
            yield from _outside("seconds", seconds, 0, LARGEST, False)
    if step is not None and (table["batch"].to_numpy() != step).any():
        yield f"column batch has values other than {step}: the file belongs to another batch"
    numbered, named = NUMBERED.get(name), NAMED.get(name)
    if numbered and not np.array_equal(table[numbered].to_numpy(), np.arange(len(table))):
        yield (
            f"column {numbered} does not count from 0: rows are missing, duplicated or out of order"
        )
    if named and (np.diff(table[named].to_numpy()) <= 0).any():
        yield f"column {named} does not ascend: rows are duplicated or out of order"


def _outside(column: str, value_N: np.ndarray, least: float, most: float, nan: bool):
    bad_N = ~((value_N >= least) & (value_N <= most)) & ~(nan & np.isnan(value_N.astype(float)))
    if bad_N.any():
        value = value_N[bad_N][0]
        yield f"column {column} holds {value}, expected {least:g} to {most:g}"


def _nulls(place: str, values: pa.Array, allowed: bool) -> Iterator[str]:
    """Report nulls in a column, or nested inside it, where none are allowed."""
    if values.null_count and not allowed:
        yield f"column {place} has missing values"
    kind = values.type
    if pa.types.is_map(kind):
        inside = [("values", values.drop_null().items)]
    elif pa.types.is_struct(kind):
        inside = [(part.name, one) for part, one in zip(kind, values.flatten(), strict=True)]
    elif pa.types.is_list(kind):
        inside = [("", values.flatten())]
    else:
        return
    for part, one in inside:
        name = f"{place}.{part}".rstrip(".")
        yield from _nulls(name, one, name in NULL and pa.types.is_string(one.type))


def unrelated(prompts: pa.Table, rollouts: pa.Table, samples: pa.Table) -> str | None:
    """Return how the tables of a step contradict each other; None if they do not.

    Args:
        prompts: Table with the columns prompt and question.
        rollouts: Table with the columns question, prompt, reward and trained.
        samples: Table with the columns rollout, prompt, pair and padding.
    """
    asked, generated = (
        [*zip(table["prompt"].to_pylist(), table["row"].to_pylist(), strict=True)]
        for table in (prompts, rollouts)
    )
    row_of = dict(asked)
    if any(row_of.get(prompt) != row for prompt, row in generated):
        return "rollouts refer to prompts that are missing or belong to another question"
    rollout_M, prompt_M = (samples[name].to_numpy() for name in ("rollout", "prompt"))
    if len(rollout_M) and rollout_M.max() >= len(rollouts):
        return "samples refer to rollouts that are missing"
    if np.isnan(rollouts["reward"].to_numpy()[rollout_M]).any():
        return "samples refer to rollouts without a reward"
    row_M = rollouts["row"].to_numpy()[rollout_M]
    if any(row_of.get(prompt) != row for prompt, row in zip(prompt_M, row_M, strict=True)):
        return "samples refer to prompts that are missing or belong to another question"
    pair_M = samples["pair"].to_numpy()
    if (pair_M >= 0).any() and (len(pair_M) % 2 or (pair_M[::2] != pair_M[1::2]).any()):
        return "samples are in pairs, but some pairs are incomplete"
    trained_M = rollout_M[~samples["padding"].to_numpy()]
    trained_N = np.bincount(trained_M, minlength=len(rollouts))
    if not np.array_equal(trained_N, rollouts["trained"].to_numpy()):
        return "samples differ from the times that rollouts are trained: missing or duplicated"
    return None


def incomplete(rollouts: pa.Table, samples: pa.Table) -> int | None:
    """Return the first batch whose number of samples is not the number trained; None if none.

    Args:
        rollouts: Table of a whole run with the columns batch and trained.
        samples: Table of a whole run with the columns batch and padding.
    """
    batch_N, trained_N = (rollouts[name].to_numpy() for name in ("batch", "trained"))
    batch_M = samples["batch"].to_numpy()[~samples["padding"].to_numpy()]
    batch_B, index = np.unique(np.concatenate([batch_N, batch_M]), return_inverse=True)
    index_N, index_M = np.split(index, [len(batch_N)])
    told_B = np.bincount(index_N, trained_N, minlength=len(batch_B))
    there_B = np.bincount(index_M, minlength=len(batch_B))
    return next((int(batch) for batch in batch_B[told_B != there_B]), None)


def about(told: Mapping[str, Any]) -> About:
    """Parse the description of a run from the JSON object in its record.

    Raises:
        ValueError: If a value has the wrong type or is out of range.
    """
    about = About(**told)
    recipe = about.recipe
    named = recipe if isinstance(recipe, str) else _within(recipe, dict, "recipe").get("name")
    _within(named, str, "recipe")
    _within(about.engine, str, "engine")
    _within(about.settings, dict, "settings")
    for name, least, value in (
        ("seed", 0, about.seed),
        ("updates", 1, about.updates),
        ("batches", 0, 0 if about.batches is None else about.batches),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
            raise ValueError(f"{name} is {str(value)[:40]}, expected a number from {least}")
    return about


def _within(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {str(value)[:40]}, expected {kind.__name__}")
    return value
