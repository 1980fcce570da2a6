"""Makes the plan of a rollout batch from its scored rollouts, independently of the engine."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from vantage.methods import Recipe, Rollouts, Samples, diagnose


@dataclass(frozen=True)
class Outcomes:
    """Rollouts of a batch with their rewards. Engines add columns with one entry per rollout.

    Attributes:
        question_N: Id within the batch of each rollout's question, shape (N,).
        prompt_N: Id of the prompt that generated the rollout, shape (N,).
        reward_N: Total reward, NaN for unscored rollouts, shape (N,).
        part_NF: Values of the F reward functions, NaN for none, shape (N, F).
    """

    question_N: np.ndarray
    prompt_N: np.ndarray
    reward_N: np.ndarray
    part_NF: np.ndarray

    def rewards(self, questions: Sequence[int]) -> list[np.ndarray]:
        """Rewards of the scored rollouts of each question; empty for a question without any."""
        scored = np.flatnonzero(~np.isnan(self.reward_N))
        row_N = scored[np.argsort(self.question_N[scored], kind="stable")]
        found, first_Q = np.unique(self.question_N[row_N], return_index=True)
        parts = np.split(self.reward_N[row_N], first_Q[1:])
        # np.split returns one empty part if nothing was found, hence not strict.
        by_question = dict(zip(found.tolist(), parts, strict=False))
        return [by_question.get(question, np.zeros(0)) for question in questions]

    def silent(self) -> list[int]:
        """Questions whose rewards are all equal, or that have no rewards."""
        questions = np.unique(self.question_N).tolist()
        rewards = zip(questions, self.rewards(questions), strict=True)
        return [q for q, reward_R in rewards if not len(reward_R) or not np.ptp(reward_R)]

    def informative_first(self) -> list[int]:
        """All questions, with the silent ones last."""
        silent = self.silent()
        return [*np.setdiff1d(self.question_N, silent).tolist(), *silent]

    def take(self, rows: np.ndarray) -> Self:
        """Select rollouts by row."""
        return replace(self, **{name: _rows_of(value, rows) for name, value in _columns(self)})

    def joined(self, other: Self) -> Self:
        """Append the rollouts of `other`."""
        theirs = dict(_columns(other))
        return replace(
            self, **{name: self._join(name, value, theirs[name]) for name, value in _columns(self)}
        )

    def _join(self, name: str, mine: Any, others: Any) -> Any:
        """Concatenate two values of a column."""
        return mine + others if isinstance(mine, list) else np.concatenate([mine, others])


def _columns(outcomes: Outcomes) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each column."""
    for field in fields(outcomes):
        yield field.name, getattr(outcomes, field.name)


def _rows_of(values: Any, rows: np.ndarray) -> Any:
    """Select rows of a column, which is a list or can be indexed by an array of rows."""
    return [values[row] for row in rows] if isinstance(values, list) else values[rows]


@dataclass(frozen=True)
class Plan:
    """The training samples that a recipe makes from a batch.

    Attributes:
        rollouts: The scored rollouts; None if there are none.
        samples: The plan, with rows that index the whole batch; empty without scored rollouts.
        of_rollouts: The same plan, with rows that index `rollouts`.
        unscored: Number of rollouts without a reward, which are excluded.
    """

    rollouts: Rollouts | None
    samples: Samples
    of_rollouts: Samples | None
    unscored: int

    @functools.cached_property
    def diagnosis(self) -> dict[str, float]:
        """Metrics of the plan, from `diagnose`; empty without scored rollouts."""
        if self.rollouts is None or self.of_rollouts is None:
            return {}
        return diagnose(self.rollouts, self.of_rollouts)


def totals(part_NF: np.ndarray, weight_F: Sequence[float]) -> np.ndarray:
    """Compute the total reward of each rollout from its F reward functions.

    A rollout is unscored (NaN) if a part of nonzero weight is missing, such as the verdict of a
    judge that failed: its partial sum would not be comparable with the rewards of its group.
    Parts of weight 0 are only logged.

    Args:
        part_NF: Values of the reward functions, shape (N, F), NaN for none.
        weight_F: Weights of the reward functions.

    Returns:
        Rewards, shape (N,).
    """
    # Sum the parts in the same order for every row, so that equal parts give exactly equal rewards.
    reward_N = np.zeros(len(part_NF))
    for part_N, weight in zip(part_NF.T, weight_F, strict=True):
        reward_N += weight * part_N if weight else 0.0
    scored_N = np.isfinite(reward_N) & ~np.isnan(part_NF).all(axis=1)
    return np.where(scored_N, reward_N, np.nan)


def make_plan(
    recipe: Recipe, outcomes: Outcomes, seed: int, number: int, done: float = 0.0
) -> Plan:
    """Make the plan of a rollout batch, with random draws seeded by (seed, number).

    Args:
        recipe: Recipe of the run.
        outcomes: Scored rollouts of the batch.
        seed: Seed of the run.
        number: Number of the batch, from 0.
        done: Training progress, from 0 to 1.
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
