"""Data of the figures of a run, computed from all of its rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from vantage.record.reading import Record

POINTS = 400  # maximum points of a curve; with more batches, each point is a mean of several
COLUMNS, MOST = 60, 3.0  # histogram over time: maximum columns, and the start of the last bin
EDGES = np.linspace(0, MOST, 25)
RIGHT = 0.5  # a reward above this counts as a right answer
# Rewards that measure correctness; the first that a run has is used.
CORRECT = ("accuracy", "tag_accuracy", "choice", "numeric", "string", "judge")

# Measures of the plans over time, by their names in the record.
SIGNALS = (
    "silent_rollouts",
    "silent_samples",
    "all_correct",
    "all_incorrect",
    "useful_share",
    "useful_per_second",
    "repeats",
    "contrast",
)
STAGES = ("generate", "reward", "plan", "log_probs", "update")


def measure(parts: Sequence[str]) -> str:
    """Return the name of the reward that decides whether a rollout is right.

    Args:
        parts: Names of the rewards of a run.

    Returns:
        The first of `CORRECT` that the run has, else "reward", the weighted sum.
    """
    return next((name for name in CORRECT if name in parts), "reward")


def right(rollouts: pa.Table) -> np.ndarray:
    """Return 1 for each rollout whose `measure` exceeds `RIGHT`, else 0; NaN without a score."""
    parts = rollouts["parts"].combine_chunks()
    name = measure([field.name for field in parts.type])
    reward_N = rollouts["reward"].to_numpy()
    value_N = reward_N
    if name != "reward":
        value_N = parts.field(name).to_numpy(zero_copy_only=False)
    return np.where(np.isnan(value_N) | np.isnan(reward_N), np.nan, value_N > RIGHT)


def curves(record: Record, rollouts: pa.Table, samples: pa.Table) -> dict[str, Any]:
    """Return everything about a run that is drawn over time.

    Args:
        record: The record of the run.
        rollouts, samples: Its tables of all rollouts and samples, without texts.
    """
    batch = record.table("batch")
    seconds = record.numbers("seconds")
    whole_S = np.nan_to_num(seconds.get("rollout_batch", np.zeros(len(record))))
    step_N = np.searchsorted(record.steps, rollouts["batch"].to_numpy())
    axes = {
        "updates": batch["updates"].to_numpy().astype(float),
        "seconds": np.cumsum(whole_S),
        "tokens": np.cumsum(batch["generated_tokens"].to_numpy()).astype(float),
    }
    together = -(-len(record) // POINTS) or 1
    parts = [field.name for field in rollouts["parts"].combine_chunks().type]
    return {
        "together": together,
        "batch": [int(step) + 1 for step in _ends(np.array(record.steps), together)],
        **{name: numbers(_ends(values_S, together)) for name, values_S in axes.items()},
        "accuracy": numbers(_means(mean_by(step_N, right(rollouts), len(record)), together)),
        "reward": numbers(_means(mean_by(step_N, rollouts["reward"], len(record)), together)),
        "right": {"by": measure(parts), "above": RIGHT},
        "heldout": _heldout(record, axes),
        "signal": _signal(record, whole_S, together),
        "stages": _stages(seconds),
        "histogram": _histogram(record, step_N, rollouts, samples),
        "totals": {
            "batches": len(record),
            "rollouts": len(rollouts),
            "tokens": int(axes["tokens"][-1]) if len(record) else 0,
            "seconds": float(axes["seconds"][-1]) if len(record) else 0.0,
        },
    }


def numbers(values) -> list[float | None]:
    """Round values to four significant digits; None for NaN and infinity."""
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]


def mean_by(group_N: np.ndarray, value_N, groups: int) -> np.ndarray:
    """Average the finite values of each of `groups` groups; NaN for a group without any."""
    value_N = np.asarray(value_N, dtype=float)
    known_N = np.isfinite(value_N)
    total_G = np.bincount(group_N[known_N], value_N[known_N], minlength=groups)
    count_G = np.bincount(group_N[known_N], minlength=groups)
    return np.divide(total_G, count_G, out=np.full(groups, np.nan), where=count_G > 0)


def _means(value_S: np.ndarray, together: int) -> np.ndarray:
    """Average each run of `together` successive values, ignoring NaN."""
    parts = [value_S[start : start + together] for start in range(0, len(value_S), together)]
    return np.array([np.mean(p[~np.isnan(p)]) if (~np.isnan(p)).any() else np.nan for p in parts])


def _ends(value_S: np.ndarray, together: int) -> np.ndarray:
    """Return the last of each run of `together` successive values."""
    last = np.minimum(np.arange(together - 1, len(value_S) + together - 1, together), len(value_S))
    return value_S[np.minimum(last, len(value_S) - 1)] if len(value_S) else value_S


def _heldout(record: Record, axes: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return results on held-out questions: of a correctness reward, else of the weighted sum."""
    rows = record.validations().to_pylist()
    metrics = {row["metric"] for row in rows}
    names = {f"rewards/{name}/mean": name for name in CORRECT} | {n: n for n in CORRECT}
    metric = next((name for name in (*names, "reward") if name in metrics), None)
    found = [row for row in rows if row["metric"] == metric]
    # A validation after b batches is drawn at the end of batch b - 1.
    places = [int(np.searchsorted(record.steps, row["batch"] - 1)) for row in found]
    places = [min(place, len(record) - 1) for place in places]
    at = {
        name: [
            0.0 if not row["batch"] or place < 0 else value_S[place]
            for row, place in zip(found, places, strict=True)
        ]
        for name, value_S in axes.items()
    }
    return {
        "measure": names.get(metric or "", metric),
        "batch": [row["batch"] for row in found],
        "value": numbers([row["value"] for row in found]),
        **{name: numbers(values) for name, values in at.items()},
    }


def _signal(record: Record, whole_S: np.ndarray, together: int) -> dict[str, list]:
    metrics = record.numbers("metrics")
    nothing_S = np.full(len(record), np.nan)
    useful_S = metrics.get("useful_rollouts", nothing_S)
    per_second_S = np.divide(useful_S, whole_S, out=nothing_S.copy(), where=whole_S > 0)
    known = {**metrics, "useful_per_second": per_second_S}
    return {name: numbers(_means(known.get(name, nothing_S), together)) for name in SIGNALS}


def _stages(seconds: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the mean seconds of each stage of a rollout batch, and of the rest of the batch."""
    means = {name: float(np.nanmean(seconds[name])) for name in STAGES if name in seconds}
    if "rollout_batch" in seconds:
        rest = float(np.nanmean(seconds["rollout_batch"])) - sum(means.values())
        means["rest"] = max(rest, 0.0)
    return means


def _histogram(record: Record, step_N, rollouts: pa.Table, samples: pa.Table) -> dict[str, Any]:
    """Return the distribution of |advantage| over time, of rollouts and of trained samples."""
    columns = min(COLUMNS, max(len(record), 1))
    edge_C = np.linspace(0, len(record), columns + 1).round().astype(int)
    trained_M = ~samples["padding"].to_numpy(zero_copy_only=False)
    step_M = np.searchsorted(record.steps, samples["batch"].to_numpy())[trained_M]
    after_M = samples["advantage"].to_numpy()[trained_M]
    return {
        "most": MOST,
        "batch": [int(record.steps[edge]) for edge in edge_C[:-1]] if len(record) else [],
        "last": int(record.steps[-1]) + 1 if len(record) else 0,
        "before": _shares(step_N, rollouts["advantage"].to_numpy(), edge_C),
        "after": _shares(step_M, after_M, edge_C),
    }


def _shares(step_N: np.ndarray, advantage_N: np.ndarray, edge_C: np.ndarray) -> list[list]:
    """Return, for each column, the share of exact zeros, then of each bin of |advantage|."""
    known_N = np.isfinite(advantage_N)
    column_N = np.searchsorted(edge_C, step_N[known_N], side="right") - 1
    # Bin 0 holds exact zeros; clipping puts everything from MOST on into the last bin.
    size_N = np.abs(advantage_N[known_N]).clip(max=np.nextafter(MOST, 0))
    bin_N = np.where(size_N == 0, 0, np.searchsorted(EDGES, size_N, side="right"))
    count_CB = np.zeros((len(edge_C) - 1, len(EDGES)))
    np.add.at(count_CB, (column_N, bin_N), 1)
    total_C1 = np.maximum(count_CB.sum(axis=1, keepdims=True), 1)
    return [numbers(row_B) for row_B in count_CB / total_C1]
