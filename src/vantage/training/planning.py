"""From the outcomes of a rollout batch to the plan, the same in every engine."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from vantage.methods import Recipe, Rollouts, Samples, diagnose


@dataclass(frozen=True)
class Outcomes:
    """Scored rollouts of a batch; engines add columns of their own, one entry a rollout.

    Attributes:
        question_N: id in the batch of the question of each of N rollouts.
        prompt_N: id of the prompt that generated it.
        reward_N: its reward, NaN without a score.
        part_NF: value of each of F reward functions, NaN for none.
    """

    question_N: np.ndarray
    prompt_N: np.ndarray
    reward_N: np.ndarray
    part_NF: np.ndarray

    def rewards(self, questions: Sequence[int]) -> list[np.ndarray]:
        """Rewards of the scored rollouts of each question."""
        scored = np.flatnonzero(~np.isnan(self.reward_N))
        row_N = scored[np.argsort(self.question_N[scored], kind="stable")]
        found, first_Q = np.unique(self.question_N[row_N], return_index=True)
        parts = np.split(self.reward_N[row_N], first_Q[1:])
        by_question = dict(zip(found.tolist(), parts, strict=False))  # none gives one empty part
        return [by_question.get(question, np.zeros(0)) for question in questions]

    def silent(self) -> list[int]:
        """Questions whose rewards are all equal, or that have none."""
        questions = np.unique(self.question_N).tolist()
        rewards = zip(questions, self.rewards(questions), strict=True)
        return [question for question, reward_R in rewards if _is_silent(reward_R)]

    def informative_first(self) -> list[int]:
        """All questions: those that are not silent, then the silent ones."""
        silent = self.silent()
        return [*np.setdiff1d(self.question_N, silent).tolist(), *silent]

    def take(self, rows: np.ndarray) -> Self:
        """The rollouts in some rows."""
        return replace(self, **{name: _rows_of(value, rows) for name, value in _columns(self)})

    def joined(self, other: Self) -> Self:
        """These rollouts, then those of `other`."""
        theirs = dict(_columns(other))
        return replace(
            self, **{name: self._join(name, value, theirs[name]) for name, value in _columns(self)}
        )

    def _join(self, name: str, mine: Any, others: Any) -> Any:
        """Two values of a column, one after the other."""
        return mine + others if isinstance(mine, list) else np.concatenate([mine, others])


def _is_silent(reward_R: np.ndarray) -> bool:
    return not len(reward_R) or not np.ptp(reward_R)


def _columns(outcomes: Outcomes) -> Iterator[tuple[str, Any]]:
    """Name and value of each column."""
    for field in fields(outcomes):
        yield field.name, getattr(outcomes, field.name)


def _rows_of(values: Any, rows: np.ndarray) -> Any:
    """Some rows of a column: an array or tensor, a list, or a dictionary of them."""
    if isinstance(values, dict):
        return {name: _rows_of(value, rows) for name, value in values.items()}
    return [values[row] for row in rows] if isinstance(values, list) else values[rows]


@dataclass(frozen=True)
class Plan:
    """What a recipe trains of a batch.

    Attributes:
        rollouts: those with a score; None where there are none.
        samples: the plan, its rows pointing into the whole batch; empty without a score.
        of_rollouts: the same plan, its rows pointing into `rollouts`.
        unscored: rollouts that were left out, having no score.
    """

    rollouts: Rollouts | None
    samples: Samples
    of_rollouts: Samples | None
    unscored: int

    @functools.cached_property
    def diagnosis(self) -> dict[str, float]:
        """The plan in numbers, as `diagnose`; nothing without a score."""
        if self.rollouts is None or self.of_rollouts is None:
            return {}
        return diagnose(self.rollouts, self.of_rollouts)


def totals(part_NF: np.ndarray, weight_F: Sequence[float]) -> np.ndarray:
    """Reward of each rollout from its F parts; NaN where one that counts, or the sum, is missing.

    A part without a verdict, as of a judge that failed, says neither right nor wrong: the others
    alone would compare the rollout with those that have it. Parts of weight 0 are only looked at.
    Summed in the same order for every row, so that equal parts give equal rewards.
    """
    reward_N = np.zeros(len(part_NF))
    for part_N, weight in zip(part_NF.T, weight_F, strict=True):
        reward_N += weight * part_N if weight else 0.0
    scored_N = np.isfinite(reward_N) & ~np.isnan(part_NF).all(axis=1)
    return np.where(scored_N, reward_N, np.nan)


def make_plan(
    recipe: Recipe, outcomes: Outcomes, seed: int, number: int, done: float = 0.0
) -> Plan:
    """The plan of rollout batch `number`; its draws are keyed by (seed, number).

    Args:
        recipe: what plans.
        outcomes: of the batch.
        seed: of the run.
        number: of the batch, from 0.
        done: share of the training that is done, 0 to 1.
    """
    scored = np.flatnonzero(~np.isnan(outcomes.reward_N))
    unscored = len(outcomes.reward_N) - len(scored)
    if not len(scored):
        nothing = np.zeros(0, dtype=np.int64)
        empty = Samples(nothing, nothing, nothing * 1.0, nothing, nothing > 0, nothing * 1.0)
        return Plan(None, empty, None, unscored)
    rollouts = Rollouts(
        outcomes.question_N[scored], outcomes.prompt_N[scored], outcomes.reward_N[scored]
    )
    made = recipe.plan(rollouts, np.random.default_rng([seed, number]), done)
    whole = made.take(np.arange(len(made)), rollout_M=scored[made.rollout_M])
    return Plan(rollouts, whole, made, unscored)
