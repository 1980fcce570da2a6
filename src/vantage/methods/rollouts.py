"""The two tables every method works on: `Rollouts` in, `Samples` out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from vantage.errors import InputError, some

LARGEST_REWARD = 1e30  # sums of squares of larger ones could overflow


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Scored responses of one rollout batch, rows in any order.

    Attributes:
        question_N: integer id of the question each rollout answers.
        prompt_N: integer id of the prompt (rendering of the question) that
            generated it; unique over the batch, so it belongs to one question, whose
            original prompt has the lowest id.
        reward_N: scalar reward, finite, at most 1e30 in size.

    Raises:
        InputError: unequal lengths, no rows, ids that are not 64-bit integers, a reward
            out of range, or a prompt id under two questions; names the rows.
    """

    question_N: np.ndarray
    prompt_N: np.ndarray
    reward_N: np.ndarray

    def __post_init__(self):
        for name in ("question_N", "prompt_N"):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        object.__setattr__(self, "reward_N", _finite(self.reward_N))
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise InputError(f"columns of Rollouts have unequal lengths: {lengths}")
        if not len(self):
            raise InputError("Rollouts is empty: a plan needs at least one scored rollout")
        _check_prompts(self.question_N, self.prompt_N)

    def __len__(self) -> int:
        return len(self.reward_N)


@dataclass(frozen=True, eq=False)
class Samples:
    """What the policy is trained on, in order of training.

    Attributes:
        prompt_M: id of the prompt that the sample is conditioned on.
        rollout_M: row of `Rollouts` whose response is trained.
        advantage_M: its advantage, 0 for padding.
        pair_M: id of its pair, -1 when unpaired. A pair that was drawn twice keeps its id.
        padding_M: True where the sample only gives the batch its shape: no gradient,
            no part in any mean or metric.
        weight_M: weight of the sample in the policy loss, relative to an ordinary
            one (sharing lowers it, so that a question with many prompts does not
            outweigh the others). Weights are normalised over a mini-batch.
    """

    prompt_M: np.ndarray
    rollout_M: np.ndarray
    advantage_M: np.ndarray
    pair_M: np.ndarray
    padding_M: np.ndarray
    weight_M: np.ndarray

    def __len__(self) -> int:
        return len(self.rollout_M)

    @property
    def unit_size(self) -> int:
        """Rows of one unit that stays together: 2 for pairs, 1 for single samples.

        Raises:
            InputError: the plan mixes pairs and single samples.
        """
        paired_M = self.pair_M >= 0
        if paired_M.any() and not paired_M.all():
            raise InputError(
                f"samples {some(np.flatnonzero(~paired_M))} have no pair while others do: "
                "a selection pairs all of its samples or none"
            )
        return 2 if len(self) and paired_M[0] else 1

    def take(self, index: np.ndarray, **columns: np.ndarray) -> Samples:
        """Rows at `index`, with some columns replaced."""
        rows = {field.name: getattr(self, field.name)[index] for field in fields(self)}
        return replace(Samples(**rows), **columns)


def _integers(name: str, values) -> np.ndarray:
    array = _column(name, values)
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        ids = np.asarray(values, dtype=object).tolist()
        bad = [row for row, value in enumerate(ids) if not _is_id(value)]
        if bad:
            raise InputError(
                f"{name} must hold 64-bit integers, got {ids[bad[0]]!r} in row {some(bad)}"
            )
    return array.astype(np.int64)


def _is_id(value) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and -(2**63) <= value < 2**63


def _finite(values) -> np.ndarray:
    array = _column("reward_N", values, np.float64)
    bad = np.flatnonzero(~(np.abs(array) <= LARGEST_REWARD))
    if len(bad):
        raise InputError(
            f"reward_N is {array[bad[0]]} in row {some(bad)}: expected a finite number up to "
            f"{LARGEST_REWARD:g} in size; drop rollouts without a reward before the plan"
        )
    return array


def _column(name: str, values, dtype: type | None = None) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a column of numbers: {error}") from error
    if array.ndim != 1:
        raise InputError(f"{name} must have one dimension, got shape {array.shape}")
    return array


def _check_prompts(question_N: np.ndarray, prompt_N: np.ndarray) -> None:
    order = np.argsort(prompt_N, kind="stable")
    same_prompt = prompt_N[order[1:]] == prompt_N[order[:-1]]
    clash = np.flatnonzero(same_prompt & (question_N[order[1:]] != question_N[order[:-1]]))
    if len(clash):
        one, other = order[clash[0]], order[clash[0] + 1]
        raise InputError(
            f"prompt {prompt_N[one]} stands under two questions: {question_N[one]} in row {one}, "
            f"{question_N[other]} in row {other}; give each rendering an id of its own"
        )
