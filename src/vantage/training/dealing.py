"""Distributes the rows of a plan over processes, updates and forward passes.

Everything here depends only on the plan and the response lengths, which all processes know,
so all processes compute the same distribution without communication.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vantage.methods.ordering import cuts, update_of
from vantage.methods.rollouts import Samples

PADDING = -1


@dataclass(frozen=True, eq=False)
class Update:
    """The rows of one optimizer update.

    Attributes:
        row_PR: Rows of the plan that go through a forward pass, per process, shape (P, R); PADDING
            pads processes with fewer rows.
        row_N: All rows of the update, without padding, shape (N,).
        tokens: Number of response tokens of all rows.
    """

    row_PR: np.ndarray
    row_N: np.ndarray
    tokens: int

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return len(self.row_N)

    @property
    def is_empty(self) -> bool:
        """Whether no row goes through a forward pass, or no token counts."""
        return self.tokens == 0 or bool((self.row_PR == PADDING).all())


def deal(
    samples: Samples,
    length_M: np.ndarray,
    updates: int,
    processes: int,
    *,
    skips_silent: bool = False,
) -> list[Update]:
    """Split a plan into optimizer updates, in order and without the padding samples.

    Every process gets the same number of rows in an update, at least one. Rows of a prompt stay
    together, since they can share the prompt's tokens and images in a forward pass.

    Args:
        samples: The plan, M rows.
        length_M: Response tokens of each sample that count in the loss, shape (M,).
        updates: Number of optimizer updates U.
        processes: Number of processes P.
        skips_silent: Whether rows whose weighted advantage is 0 skip the forward pass. They have
            no gradient, but count in the denominators of the loss.

    Returns:
        U updates.
    """
    update_M = update_of(samples, updates)
    forwarded_M = (not skips_silent) | (samples.advantage_M * samples.weight_M != 0)
    dealt = []
    for number in range(updates):
        every = np.flatnonzero((update_M == number) & ~samples.padding_M)
        rows = every[forwarded_M[every]]
        by_prompt = rows[np.argsort(samples.prompt_M[rows], kind="stable")]
        row_PR = np.full((processes, max(1, -(-len(rows) // processes))), PADDING)
        for process, mine in enumerate(np.array_split(by_prompt, processes)):
            row_PR[process, : len(mine)] = mine
        dealt.append(Update(row_PR, every, int(length_M[every].sum())))
    return dealt


def loss_weights(samples: Samples, size_M: np.ndarray, updates: list[Update]) -> np.ndarray:
    """Scale the sample weights of a plan so that their weighted mean is 1 in every update.

    Args:
        samples: The plan, M rows.
        size_M: Share of each sample in the denominator of the loss, shape (M,): its number of
            tokens for a mean over tokens, 1 for a mean over rows.
        updates: Updates from `deal`.

    Returns:
        Loss weights, shape (M,); 0 for padding.
    """
    weight_M = np.zeros(len(samples))
    for update in updates:
        rows = update.row_N
        total = (samples.weight_M[rows] * size_M[rows]).sum()
        scale = size_M[rows].sum() / total if total else 1.0
        weight_M[rows] = samples.weight_M[rows] * scale
    return weight_M


def share_of(count: int, part: int, parts: int) -> slice:
    """The slice of `count` forward passes that belongs to accumulation step `part` of `parts`.

    The last step synchronizes the gradients, and always has a forward pass.
    """
    start, stop = cuts(count, parts)[part : part + 2]
    return slice(int(start), int(stop))
