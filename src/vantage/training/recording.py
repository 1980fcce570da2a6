"""Builds the record of a rollout batch, and writes records despite a full disk."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from vantage.errors import some_names
from vantage.methods.ordering import update_of
from vantage.record import Step
from vantage.training.inputs import part_names
from vantage.training.planning import Outcomes, Plan
from vantage.training.session import Session

logger = logging.getLogger(__name__)

MOST = 100  # pending writes


def step_of(
    outcomes: Outcomes,
    plan: Plan,
    session: Session,
    *,
    rewards: Iterable[str],
    responses: Sequence[str],
    tokens_N: np.ndarray,
    log_prob_N: np.ndarray,
    updates: int,
    done: int,
    seconds: Mapping[str, float],
) -> Step:
    """Build the record of a rollout batch after its last update.

    Args:
        outcomes: Scored rollouts of the batch.
        plan: Plan made from them.
        session: Session of the run, at this batch.
        rewards: Names of the reward functions.
        responses: Response texts; only those that the record keeps are read.
        tokens_N: Number of response tokens that count, shape (N,).
        log_prob_N: Mean log-prob of each response, NaN if not computed, shape (N,).
        updates: Number of optimizer updates made from the plan.
        done: Number of optimizer updates of the run so far.
        seconds: Stage -> seconds.
    """
    prompts, questions = session.prompts, outcomes.question_N.tolist()
    asked_Q = {question: prompts.asked(question) for question in set(questions)}
    return Step(
        number=session.number,
        row_N=np.array([asked_Q[question].question for question in questions]),
        question_N=outcomes.question_N,
        epoch_N=np.array([asked_Q[question].epoch for question in questions]),
        prompt_N=outcomes.prompt_N,
        variant_N=outcomes.prompt_N % prompts.variants.prompts,
        parts=dict(zip(part_names(rewards), outcomes.part_NF.T, strict=True)),
        reward_N=outcomes.reward_N,
        responses=responses,
        tokens_N=tokens_N,
        log_prob_N=log_prob_N,
        samples=plan.samples,
        update_M=update_of(plan.samples, updates),
        prompts={
            prompt: prompts.prompt(prompt) for prompt in np.unique(outcomes.prompt_N).tolist()
        },
        seconds=dict(seconds),
        metrics=plan.diagnosis,
        updates=done,
        generated_tokens=session.generated_tokens,
        done=prompts.done,
    )


class Writing:
    """Performs writes in order, and retries those that fail.

    A full disk must not end a run whose weights are fine. So failed writes stay in memory and are
    retried before the next one.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], None], str]] = deque()

    def write(self, write: Callable[[], None], what: str) -> None:
        """Queue a write, then perform all pending writes."""
        self._waiting.append((write, what))
        self.settle()

    def settle(self) -> None:
        """Perform pending writes until one fails; log a warning that names the rest."""
        while self._waiting:
            try:
                self._waiting[0][0]()
            except OSError as error:
                told = some_names(what for _, what in self._waiting)
                logger.warning(f"{told} is not in the record yet: {error}; will retry")
                if len(self._waiting) > MOST:
                    self._waiting.popleft()
                return
            self._waiting.popleft()
