"""Builds the record of a rollout batch, and writes records despite a full disk."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from vantage.errors import some_names
from vantage.methods.ordering import update_of
from vantage.questions.prompts import Prompts
from vantage.record import Recorder, Step
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
    prompts = session.prompts
    return Step(
        number=session.number,
        row_N=data_rows(outcomes, prompts),
        question_N=outcomes.question_N,
        epoch_N=np.array([prompts.asked(q).epoch for q in outcomes.question_N.tolist()]),
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


def data_rows(outcomes: Outcomes, prompts: Prompts) -> np.ndarray:
    """Data row behind each rollout, shape (N,)."""
    return np.array([prompts.asked(question).question for question in outcomes.question_N.tolist()])


class Writing:
    """Writes the record of a run in order, and retries writes that fail.

    A full disk must not end a run whose weights are fine. Failed writes therefore stay in memory,
    and are retried before the next one. Nothing is written before `open`, which only the main
    process calls.
    """

    def __init__(self) -> None:
        self._recorder: Recorder | None = None
        self._waiting: deque[tuple[Callable[[], None], str]] = deque()

    def open(self, recorder: Recorder) -> None:
        """Write to this recorder from now on."""
        self._recorder = recorder

    def append(self, step: Step) -> None:
        """Write a rollout batch."""
        if self._recorder is not None:
            self._write(partial(self._recorder.append, step), f"rollout batch {step.number}")

    def validated(self, batch: int, results: Mapping[str, float], seconds: float) -> None:
        """Write the results of a validation after `batch` rollout batches."""
        if self._recorder is not None:
            self._write(partial(self._recorder.validated, batch, results, seconds), "validation")

    def close(self) -> None:
        """Perform pending writes, and release the lock of the record."""
        if self._recorder is not None:
            try:
                self._settle()
            finally:
                self._recorder.close()
                self._recorder = None

    def _write(self, write: Callable[[], None], what: str) -> None:
        self._waiting.append((write, what))
        self._settle()

    def _settle(self) -> None:
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
