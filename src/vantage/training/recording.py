"""What every engine writes down of a rollout batch."""

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

MOST = 100  # that wait for a disk


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
    """A rollout batch whose last update was just made, for the record.

    Args:
        outcomes: its rollouts.
        plan: made of them.
        session: of the run, at this batch.
        rewards: names of the reward functions.
        responses: texts, of which those that the record keeps are looked at.
        tokens_N: tokens of each response that count.
        log_prob_N: mean log-prob of each response, NaN where nobody computed it.
        updates: made from the plan.
        done: updates of the run so far.
        seconds: by stage.
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
    """Writes a record in order.

    A full disk must not end a run whose weights are fine: what cannot be written is kept in memory
    and written before whatever comes next.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], None], str]] = deque()

    def write(self, write: Callable[[], None], what: str) -> None:
        """Write something, after what waits."""
        self._waiting.append((write, what))
        self.settle()

    def settle(self) -> None:
        """Write what waits, as far as that can be done; the rest is told."""
        while self._waiting:
            try:
                self._waiting[0][0]()
            except OSError as error:
                told = some_names(what for _, what in self._waiting)
                logger.warning(f"{told} is not in the record yet: {error}; writing is retried")
                if len(self._waiting) > MOST:
                    self._waiting.popleft()
                return
            self._waiting.popleft()
