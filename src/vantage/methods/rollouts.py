"""The input and the output of every method: `Rollouts` and `Samples`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from vantage.errors import InputError, some

LARGEST_REWARD = 1e30  # the sum of squares of larger rewards could overflow


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Scored rollouts of one batch, in any order. All columns have shape (N,).

    Attributes:
        question_N: Integer id of the question that each rollout answers.
        prompt_N: Integer id of the prompt (a rendering of the question) that generated it.
            A prompt belongs to one question; the original prompt of a question has its
            lowest id.
        reward_N: Finite scalar reward of magnitude at most 1e30.

    Raises:
        InputError: Columns have unequal lengths or no rows, ids are not 64-bit integers, a
            reward is out of range, or a prompt belongs to two questions; names the rows.
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
    """Training samples in training order. All columns have shape (M,).

    Attributes:
        prompt_M: Id of the prompt that the sample is conditioned on.
        rollout_M: Row of `Rollouts` whose response is trained.
        advantage_M: Advantage of the sample; 0 for padding.
        pair_M: Id of the pair, or -1 if unpaired. All copies of a pair share its id.
        padding_M: True for samples that only fill the batch: they have no gradient and
            count in no mean or metric.
        weight_M: Relative weight of the sample in the policy loss, normally 1. Sharing lowers
            it, so that a question with many prompts does not outweigh the others. Weights are
            normalised over a mini-batch.
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
        """Samples per unit that stays together: 2 for pairs, 1 for single samples.

        Raises:
            InputError: The plan mixes pairs and single samples.
        """
        paired_M = self.pair_M >= 0
        if paired_M.any() and not paired_M.all():
            raise InputError(
                f"samples {some(np.flatnonzero(~paired_M))} have no pair while others do: "
                "a selection pairs all of its samples or none"
            )
        return 2 if len(self) and paired_M[0] else 1

    def take(self, index: np.ndarray, **columns: np.ndarray) -> Samples:
        """Select the rows at `index`, then replace the given columns."""
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
            f"prompt {prompt_N[one]} belongs to two questions: {question_N[one]} in row {one}, "
            f"{question_N[other]} in row {other}; give each rendering a unique id"
        )
