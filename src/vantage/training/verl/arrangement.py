"""From a plan to the rows of veRL's batch. Pure: rows are keys here, and nothing is moved."""

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
    """Name of a prompt in veRL's store: rollout batch, and its slot there."""
    return f"{number}-{slot}"


def slot_and_session(key: str) -> tuple[int, int]:
    """Slot of the prompt, and number of the rollout, behind a key of veRL's."""
    uid, session, _ = key.rsplit("_", 2)
    return int(uid.rpartition("-")[2]), int(session)


@dataclass(frozen=True)
class Generated(Outcomes):
    """Rollouts in veRL's store, by prompt and number.

    Attributes:
        keys: of their rows; tags: what veRL knows of them.
    """

    keys: list[str]
    tags: list[Tag]

    def lengths(self, of: str = "response_len") -> np.ndarray:
        """Tokens of the responses, or of the whole rows ("seq_len")."""
        return np.array([tag[of] for tag in self.tags], dtype=np.int64)


@dataclass(frozen=True)
class Layout:
    """Where the rows of a plan stand in the batch that the workers cut up.

    Attributes:
        row_UPR: rows of the plan for each of U updates, P processes and R places, PADDING where
            there is none.
        rows_U: rows of the plan in each update.
        advantage_M: advantages times loss weights.
    """

    row_UPR: np.ndarray
    rows_U: np.ndarray
    advantage_M: np.ndarray

    @property
    def padding(self) -> int:
        """Rows of padding."""
        return int((self.row_UPR == PADDING).sum())

    @property
    def rows_of_update(self) -> int:
        """Rows of an update over all processes, padding included."""
        return self.row_UPR.shape[1] * self.row_UPR.shape[2]

    def in_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Row of the plan, and its update, for each row of the batch.

        A worker's rows stand together, and those of its updates one after the other.
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
) -> Layout:
    """The updates of a plan, as many rows on every process and in every update.

    Args:
        samples: the plan, M rows.
        length_M: response tokens of each; work_M: all tokens of its row.
        updates: optimizer updates made of it, U.
        processes: groups of workers that see different rows, P.
        multiple: what the rows of a process and update must divide into.
        by_tokens: whether the loss is a mean over tokens, or over rows.
    """
    dealt = deal(samples, length_M, updates, processes)
    weight_M = loss_weights(samples, length_M if by_tokens else np.ones(len(samples)), dealt)
    most = max(update.row_PR.shape[1] for update in dealt)
    each = -(-most // multiple) * multiple
    row_UPR = np.stack([_evened(update.row_PR, each, work_M) for update in dealt])
    rows_U = np.array([update.rows for update in dealt])
    return Layout(row_UPR, rows_U, samples.advantage_M * weight_M)


def _evened(row_PR: np.ndarray, each: int, work_M: np.ndarray) -> np.ndarray:
    """The rows of an update with about the same work on every process, in the plan's order.

    Dealt from the longest to the shortest, there and back again.
    """
    processes = len(row_PR)
    held = np.full(each * processes, PADDING)
    held[: row_PR.size] = row_PR.T.reshape(-1)
    work = np.array([work_M[row] if row != PADDING else -1 for row in held])
    dealt_RP = np.argsort(-work, kind="stable").reshape(each, processes)
    dealt_RP[1::2] = dealt_RP[1::2, ::-1]
    return held[np.sort(dealt_RP.T, axis=1)]


@dataclass(frozen=True)
class Joined:
    """A new row: the response of one row under the prompt of another, or of the same.

    Attributes:
        key: of the new row.
        response: key of the row whose response it has, and everything else.
        prompt: key of the row whose prompt it has; the same for a copy.
    """

    key: str
    response: str
    prompt: str


@dataclass(frozen=True)
class Stored:
    """Rows of the batch at work.

    Attributes:
        key_of: key of each (prompt, rollout) that the plan trains.
        tag_of: what veRL knows of each key.
        made: those that have to be written: responses under prompts that did not generate them.
        own_of: key of each trained rollout under the prompt that generated it, where it stays.
        scored: what veRL knows of those keys that no sample trains: they get log-probs alone.
    """

    key_of: dict[tuple[int, int], str]
    tag_of: dict[str, Tag]
    made: list[Joined]
    own_of: dict[int, str]
    scored: dict[str, Tag]

    def rollouts(self) -> list[int]:
        """Rollout behind each of the trained rows."""
        return [rollout for _, rollout in self.key_of]


def distinct(generated: Generated, samples: Samples, number: int, own: bool = False) -> Stored:
    """Each (prompt, rollout) that the plan trains, once; padding is left out.

    Args:
        generated: the rollouts.
        samples: the plan.
        number: of the rollout batch.
        own: keep the own row of every trained rollout, to be scored.
    """
    asked: dict[int, int] = {}
    for row, prompt in enumerate(generated.prompt_N.tolist()):
        asked.setdefault(prompt, row)
    kept = ~samples.padding_M
    pairs = zip(samples.prompt_M[kept].tolist(), samples.rollout_M[kept].tolist(), strict=True)
    stored = Stored({}, {}, [], {}, {})
    for prompt, rollout in dict.fromkeys(pairs):
        key, tag = generated.keys[rollout], generated.tags[rollout]
        if prompt != generated.prompt_N[rollout]:
            under = asked[prompt]
            name = f"{number}-shared{prompt}_{rollout}_0"
            stored.made.append(Joined(name, key, generated.keys[under]))
            key, tag = name, _joined_tag(tag, generated.tags[under])
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
    """The batch that the workers cut up, B rows.

    Attributes:
        keys, tags: of the rows.
        advantage_B: times the weight in the loss, 0 for padding.
        rows_B: rows of the plan in the update of each row.
        made: copies of rows that are trained more than once, to be written.
    """

    keys: list[str]
    tags: list[Tag]
    advantage_B: np.ndarray
    rows_B: np.ndarray
    made: list[Joined]


def ordered(
    layout: Layout,
    samples: Samples,
    stored: Stored,
    padding: Sequence[tuple[str, Tag]],
    number: int,
) -> Ordered:
    """The rows in the order of processes and updates.

    Args:
        layout: where rows of the plan stand.
        samples: the plan.
        stored: its rows, each once.
        padding: key and tag of as many rows of padding as the layout has.
        number: of the rollout batch.
    """
    row_B, update_B = layout.in_order()
    waiting = iter(padding)
    tag_of: dict[str, Tag] = {}
    made = []
    for place, row in enumerate(row_B.tolist()):
        if row == PADDING:
            key, tag = next(waiting)
        else:
            key = stored.key_of[int(samples.prompt_M[row]), int(samples.rollout_M[row])]
            tag = stored.tag_of[key]
        if key in tag_of:
            made.append(Joined(f"{number}-again{place}_0_0", key, key))
            key = made[-1].key
        tag_of[key] = tag
    advantage_B = np.append(layout.advantage_M, 0.0)[row_B]  # PADDING is the last
    return Ordered(list(tag_of), list(tag_of.values()), advantage_B, layout.rows_U[update_B], made)
