"""From a plan to the rows of each process, update and forward.

Everything here follows from the plan and the response lengths, which all processes know,
so every process deals the same way without talking to the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vantage.methods.ordering import cuts, update_of
from vantage.methods.rollouts import Samples

PADDING = -1


@dataclass(frozen=True, eq=False)
class Update:
    """What one optimizer update trains.

    Attributes:
        row_PR: rows of the plan for each of P processes, R each, PADDING where a process has
            one row less than the others.
        rows: rows of the plan in the update, over all processes.
        tokens: response tokens of those rows.
    """

    row_PR: np.ndarray
    rows: int
    tokens: int


def deal(samples: Samples, length_M: np.ndarray, updates: int, processes: int) -> list[Update]:
    """The updates of a rollout batch, in the plan's order, padding left out.

    Every process gets the same number of rows in every update, at least one.

    Args:
        samples: the plan, M rows.
        length_M: response tokens that count in the loss, of each sample.
        updates: optimizer updates made from the plan, U.
        processes: processes that share the work, P.
    """
    update_M = update_of(samples, updates)
    dealt = []
    for number in range(updates):
        rows = np.flatnonzero((update_M == number) & ~samples.padding_M)
        each = max(1, -(-len(rows) // processes))
        padded = np.full(each * processes, PADDING)
        padded[: len(rows)] = rows
        row_PR = padded.reshape(each, processes).T
        dealt.append(Update(row_PR, len(rows), int(length_M[rows].sum())))
    return dealt


def loss_weights(samples: Samples, size_M: np.ndarray, updates: list[Update]) -> np.ndarray:
    """Weight of each sample in the loss, with a weighted mean of 1 in every update.

    Args:
        samples: the plan.
        size_M: what a sample counts in the denominator of the loss: its tokens where that
            is a mean over tokens, 1 where it is a mean over rows.
        updates: as `deal` made them.
    """
    weight_M = np.zeros(len(samples))
    for update in updates:
        rows = update.row_PR[update.row_PR != PADDING]
        total = (samples.weight_M[rows] * size_M[rows]).sum()
        scale = size_M[rows].sum() / total if total else 1.0
        weight_M[rows] = samples.weight_M[rows] * scale
    return weight_M


def share_of(count: int, part: int, parts: int) -> slice:
    """The piece of `count` forwards that training step `part` of `parts` does.

    The last step, which synchronizes the gradients, always has one.
    """
    start, stop = cuts(count, parts)[part : part + 2]
    return slice(int(start), int(stop))
