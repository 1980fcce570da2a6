"""TRL's table of completions, with the advantages of the plan."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vantage.methods.rollouts import Samples
from vantage.training.trl.batch import Scored

QUESTION = "question"  # column of ours, which TRL does not show

Log = dict[str, Any]


def empty() -> Log:
    """TRL's log of completions, with room for all that is generated for a rollout batch."""
    plain: Log = {
        name: deque() for name in ("images", "prompt", "completion", "advantages", QUESTION)
    }
    return {**plain, "rewards": defaultdict(deque), "extra": defaultdict(deque)}


def without_advantages(log: Log, count: int) -> None:
    """The last completions are not planned: their advantage is not a number."""
    shown = log["advantages"]
    for back in range(1, min(count, len(shown)) + 1):
        shown[-back] = np.nan


def with_pictures(log: Log, shown: Sequence[list | None]) -> None:
    """Add the pictures of the last prompts; a table with pictures has an entry for each prompt.

    Args:
        log: that has these prompts already.
        shown: pictures of each of them, None without one.
    """
    images = log["images"]
    if images or any(shown):
        images.extend([None] * (len(log["prompt"]) - len(images) - len(shown)))
        images.extend(shown)


def planned(log: Log, scored: Scored, samples: Samples) -> Log:
    """The rollouts of a batch with the advantages that are trained.

    Args:
        log: of everything that was generated for the batch, in that order.
        scored: the rollouts of the batch: those of some questions, in that order.
        samples: the plan; a rollout that is trained several times shows the mean of its advantages,
            one that is not trained NaN.
    """
    rows = np.flatnonzero(np.isin(log[QUESTION], scored.question_N))

    def bounded(values: Iterable = ()) -> deque:
        return deque(values, maxlen=len(rows))  # as TRL's is

    def kept(column: deque) -> deque:
        whole = len(column) == len(log[QUESTION])
        return bounded(column[row] for row in rows) if whole else bounded(column)

    def of_each(columns: defaultdict[str, deque]) -> defaultdict[str, deque]:
        return defaultdict(bounded, {name: kept(column) for name, column in columns.items()})

    made = {k: of_each(v) if isinstance(v, defaultdict) else kept(v) for k, v in log.items()}
    made["advantages"] = bounded(trained_advantages(samples, len(rows)).tolist())
    return made


def trained_advantages(samples: Samples, rollouts: int) -> np.ndarray:
    """Mean advantage of the samples of each of N rollouts, NaN where it has none."""
    rows = ~samples.padding_M
    times_N = np.bincount(samples.rollout_M[rows], minlength=rollouts)
    total_N = np.bincount(samples.rollout_M[rows], samples.advantage_M[rows], minlength=rollouts)
    return np.divide(total_N, times_N, out=np.full(rollouts, np.nan), where=times_N > 0)
