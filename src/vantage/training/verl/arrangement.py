"""Arranges the samples of a plan as rows of veRL's batch. Pure: rows are represented by keys."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vantage.methods import Samples
from vantage.training.dealing import PADDING, deal, loss_weights
from vantage.training.planning import Outcomes

Tag = dict[str, Any]


def uid_of(number: int, slot: int) -> str:
    """Id of a prompt in veRL's store: the number of the rollout batch and the prompt's slot."""
    return f"{number}-{slot}"


def slot_and_session(key: str) -> tuple[int, int]:
    """Parse a key of veRL into the slot of its prompt and the number of the rollout."""
    uid, session, _ = key.rsplit("_", 2)
    return int(uid.rpartition("-")[2]), int(session)


@dataclass(frozen=True)
class Generated(Outcomes):
    """Scored rollouts in veRL's store, sorted by prompt and number.

    Attributes:
        keys: Key of each rollout's row, length N.
        tags: veRL's tag of each row, length N.
    """

    keys: list[str]
    tags: list[Tag]

    def lengths(self, of: str = "response_len") -> np.ndarray:
        """Number of tokens of each response, or of each whole row ("seq_len"), shape (N,)."""
        return np.array([tag[of] for tag in self.tags], dtype=np.int64)


@dataclass(frozen=True)
class Layout:
    """Positions of the plan's rows in the batch that veRL splits into updates and processes.

    Attributes:
        row_UPR: Row of the plan at each of R positions, per update and process, shape (U, P, R);
            PADDING for none.
        rows_U, tokens_U: Number of rows of the plan in each update, and of their response tokens,
            including rows that go through no forward, shape (U,).
        advantage_M: Advantages times loss weights, shape (M,).
    """

    row_UPR: np.ndarray
    rows_U: np.ndarray
    tokens_U: np.ndarray
    advantage_M: np.ndarray

    @property
    def forwarded(self) -> np.ndarray:
        """Rows of the plan that go through a forward, in the order of the plan."""
        return np.unique(self.row_UPR[self.row_UPR != PADDING])

    @property
    def padding(self) -> int:
        """Number of padding rows."""
        return int((self.row_UPR == PADDING).sum())

    @property
    def rows_of_update(self) -> int:
        """Number of rows of an update over all processes, including padding."""
        return self.row_UPR.shape[1] * self.row_UPR.shape[2]

    def in_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Row of the plan, or PADDING, and update of each row of the batch, shapes (B,).

        The batch is sorted by process, and within a process by update.
        """
        update_UPR = np.broadcast_to(np.arange(len(self.rows_U))[:, None, None], self.row_UPR.shape)
        return self.row_UPR.swapaxes(0, 1).reshape(-1), update_UPR.swapaxes(0, 1).reshape(-1)


def lay_out(
    samples: Samples,
    length_M: np.ndarray,
    work_M: np.ndarray,
    *,
    updates: int,
    processes: int,
    multiple: int = 1,
    by_tokens: bool = True,
    skips_silent: bool = False,
) -> Layout:
    """Lay out a plan with the same number of rows for every process and update.

    Args:
        samples: Samples of the plan.
        length_M: Number of response tokens of each sample, shape (M,).
        work_M: Number of tokens of each sample's whole row, shape (M,).
        updates: Number of optimizer updates.
        processes: Number of worker groups that receive different rows.
        multiple: The number of rows per process and update is a multiple of this.
        by_tokens: Whether the loss is a mean over tokens rather than over rows.
        skips_silent: As for `deal`.
    """
    dealt = deal(samples, length_M, updates, processes, skips_silent=skips_silent)
    weight_M = loss_weights(samples, length_M if by_tokens else np.ones(len(samples)), dealt)
    most = max(update.row_PR.shape[1] for update in dealt)
    size = -(-most // multiple) * multiple
    row_UPR = np.stack([_balanced(update.row_PR, size, work_M) for update in dealt])
    rows_U, tokens_U = np.array([(update.rows, update.tokens) for update in dealt]).T
    return Layout(row_UPR, rows_U, tokens_U, samples.advantage_M * weight_M)


def _balanced(row_PR: np.ndarray, size: int, work_M: np.ndarray) -> np.ndarray:
    """Redistribute the rows of an update so that all processes have about equal work.

    Deals the rows from longest to shortest, reversing the order of the processes in each round.
    The rows of a process keep the order of the plan.

    Args:
        row_PR: Rows of the plan, PADDING for none.
        size: Number of rows per process after padding.
        work_M: Number of tokens of each sample's row.
    """
    processes = len(row_PR)
    padded = np.full(size * processes, PADDING)
    rows = np.sort(row_PR[row_PR != PADDING])
    padded[: len(rows)] = rows
    work = np.array([work_M[row] if row != PADDING else -1 for row in padded])
    dealt_RP = np.argsort(-work, kind="stable").reshape(size, processes)
    dealt_RP[1::2] = dealt_RP[1::2, ::-1]
    return padded[np.sort(dealt_RP.T, axis=1)]


@dataclass(frozen=True)
class Joined:
    """A row to write: the response of one row under the prompt of another, or a copy of a row.

    Attributes:
        key: Key of the row to write.
        response: Key of the row that provides the response and all other fields.
        prompt: Key of the row that provides the prompt; equal to `response` for a copy.
    """

    key: str
    response: str
    prompt: str


@dataclass(frozen=True)
class Stored:
    """Rows of the current batch in veRL's store.

    Attributes:
        key_of: (prompt, rollout) of the plan -> key of its row.
        tag_of: Key of a trained row -> veRL's tag.
        joined: Rows to write: responses under prompts that did not generate them.
        own_of: Trained rollout -> key of its row under the prompt that generated it, for rows that
            are kept.
        scored: Key -> veRL's tag, for rows that are kept only to compute their log-probs.
    """

    key_of: dict[tuple[int, int], str]
    tag_of: dict[str, Tag]
    joined: list[Joined]
    own_of: dict[int, str]
    scored: dict[str, Tag]

    def rollouts(self) -> list[int]:
        """Rollout of each trained row."""
        return [rollout for _, rollout in self.key_of]


def distinct(generated: Generated, samples: Samples, number: int, own: bool = False) -> Stored:
    """Find the distinct rows of a plan, without padding.

    Args:
        generated: Rollouts of the batch.
        samples: Samples of the plan.
        number: Number of the rollout batch.
        own: Whether to keep, for every trained rollout, the row under the prompt that generated it,
            so that its log-probs are computed.
    """
    first_row: dict[int, int] = {}
    for row, prompt in enumerate(generated.prompt_N.tolist()):
        first_row.setdefault(prompt, row)
    real_M = ~samples.padding_M
    pairs = zip(samples.prompt_M[real_M].tolist(), samples.rollout_M[real_M].tolist(), strict=True)
    stored = Stored({}, {}, [], {}, {})
    for prompt, rollout in dict.fromkeys(pairs):
        key, tag = generated.keys[rollout], generated.tags[rollout]
        if prompt != generated.prompt_N[rollout]:
            row = first_row[prompt]
            new_key = f"{number}-shared{prompt}_{rollout}_0"
            stored.joined.append(Joined(new_key, key, generated.keys[row]))
            key, tag = new_key, _joined_tag(tag, generated.tags[row])
        stored.key_of[prompt, rollout], stored.tag_of[key] = key, tag
    for rollout in dict.fromkeys(stored.rollouts()):
        key = generated.keys[rollout]
        if own and key not in stored.tag_of:
            stored.scored[key] = generated.tags[rollout]
        if own or key in stored.tag_of:
            stored.own_of[rollout] = key
    return stored


def _joined_tag(response: Tag, prompt: Tag) -> Tag:
    length = prompt["prompt_len"] + response["response_len"]
    return copy.deepcopy(response) | {"prompt_len": prompt["prompt_len"], "seq_len": length}


@dataclass(frozen=True)
class Ordered:
    """The B rows of the batch in the order in which veRL splits them.

    Attributes:
        keys, tags: Key and veRL's tag of each row.
        advantage_B: Advantage times loss weight, 0 for padding, shape (B,).
        rows_B, tokens_B: Number of rows of the plan in the update of each row, and of their
            response tokens, shape (B,).
        copies: Rows to write: copies of rows that are trained more than once.
    """

    keys: list[str]
    tags: list[Tag]
    advantage_B: np.ndarray
    rows_B: np.ndarray
    tokens_B: np.ndarray
    copies: list[Joined]


def ordered(
    layout: Layout,
    samples: Samples,
    stored: Stored,
    padding: Sequence[tuple[str, Tag]],
    number: int,
) -> Ordered:
    """Put the rows of the batch in the order of processes and updates.

    Args:
        layout: Positions of the plan's rows.
        samples: Samples of the plan.
        stored: Distinct rows of the plan.
        padding: Key and tag of each padding row, as many as the layout has.
        number: Number of the rollout batch.
    """
    row_B, update_B = layout.in_order()
    unused_padding = iter(padding)
    tag_of: dict[str, Tag] = {}
    copies = []
    for position, row in enumerate(row_B.tolist()):
        if row == PADDING:
            key, tag = next(unused_padding)
        else:
            key = stored.key_of[int(samples.prompt_M[row]), int(samples.rollout_M[row])]
            tag = stored.tag_of[key]
        if key in tag_of:
            copies.append(Joined(f"{number}-again{position}_0_0", key, key))
            key = copies[-1].key
        tag_of[key] = tag
    advantage_B = np.append(layout.advantage_M, 0.0)[row_B]  # PADDING, -1, indexes the appended 0
    totals = (layout.rows_U[update_B], layout.tokens_U[update_B])
    return Ordered(list(tag_of), list(tag_of.values()), advantage_B, *totals, copies)
