"""Replaces the advantages in TRL's table of completions by those of the plan."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vantage.methods.rollouts import Samples
from vantage.training.trl.batch import Scored

QUESTION = "question"  # our own column, which TRL does not print

Log = dict[str, Any]


def empty() -> Log:
    """Create TRL's log of completions, unbounded so that it holds a rollout batch with refills."""
    plain: Log = {
        name: deque() for name in ("images", "prompt", "completion", "advantages", QUESTION)
    }
    return {**plain, "rewards": defaultdict(deque), "extra": defaultdict(deque)}


def without_advantages(log: Log, count: int) -> None:
    """Set the advantages of the last `count` completions to NaN until they are planned."""
    shown = log["advantages"]
    for back in range(1, min(count, len(shown)) + 1):
        shown[-back] = np.nan


def with_pictures(log: Log, shown: Sequence[list | None]) -> None:
    """Add the images of the last prompts. If any prompt has images, each gets an entry.

    Args:
        log: Log that already has these prompts.
        shown: Images of each prompt, or None.
    """
    images = log["images"]
    if images or any(shown):
        images.extend([None] * (len(log["prompt"]) - len(images) - len(shown)))
        images.extend(shown)


def planned(log: Log, scored: Scored, samples: Samples) -> Log:
    """Restrict the log to the rollouts of a batch, with their advantages in the plan.

    Args:
        log: Log of everything generated for the batch, in order.
        scored: Rollouts of the batch, a subset in the same order.
        samples: The plan. A rollout trained several times gets its mean advantage, and one that
            is not trained gets NaN.
    """
    rows = np.flatnonzero(np.isin(log[QUESTION], scored.question_N))

    def bounded(values: Iterable = ()) -> deque:
        return deque(values, maxlen=len(rows))  # TRL's deques have this bound too

    def kept(column: deque) -> deque:
        whole = len(column) == len(log[QUESTION])
        return bounded(column[row] for row in rows) if whole else bounded(column)

    def of_each(columns: defaultdict[str, deque]) -> defaultdict[str, deque]:
        return defaultdict(bounded, {name: kept(column) for name, column in columns.items()})

    made = {k: of_each(v) if isinstance(v, defaultdict) else kept(v) for k, v in log.items()}
    made["advantages"] = bounded(trained_advantages(samples, len(rows)).tolist())
    return made


def trained_advantages(samples: Samples, rollouts: int) -> np.ndarray:
    """Mean advantage over the samples of each rollout, NaN without samples, shape (N,)."""
    rows = ~samples.padding_M
    times_N = np.bincount(samples.rollout_M[rows], minlength=rollouts)
    total_N = np.bincount(samples.rollout_M[rows], samples.advantage_M[rows], minlength=rollouts)
    return np.divide(total_N, times_N, out=np.full(rollouts, np.nan), where=times_N > 0)
