"""What ends a run between two rollout batches: the user's code fails, or nothing is trained."""

from __future__ import annotations

import logging

import numpy as np

from vantage.errors import EngineError
from vantage.training.planning import Plan

logger = logging.getLogger(__name__)

NO_REWARD = (
    "none has a reward, as every reward gave None or NaN, or one that counts did. Does a reward "
    "fail, does a judge or verifier answer, and are there the columns that it reads?"
)
WRONG = (
    "Is the column of the answers the right one, does the reward accept it (vantage check shows "
    "it), are responses cut off, or are the questions too hard for the model?"
)
RIGHT = "Are the questions too easy for the model, or does the reward accept anything?"


class StoppedError(Exception):
    """The run ends before the current rollout batch is trained.

    Attributes:
        error: the reason, to be raised to the user once a checkpoint is saved.
    """

    def __init__(self, error: BaseException):
        super().__init__(str(error))
        self.error = error


class Silence:
    """Counts rollout batches in a row that train nothing.

    Attributes:
        most: number of them at which the run ends; None for never.
        count: number of them so far; saved in checkpoints.
    """

    def __init__(self, most: int | None, count: int = 0):
        self.most, self.count = most, count

    def take(self, number: int, plan: Plan, *, says: bool = True) -> None:
        """Count a batch if it trains nothing, and log a warning at the first in a row.

        Args:
            number: of the batch, from 0.
            plan: of the batch.
            says: whether this process logs the warning.

        Raises:
            StoppedError: the number of batches in a row reaches `most`. The last one is not
                counted, since it is not trained.
        """
        now = 0 if trains(plan) else self.count + 1
        if self.most is not None and now >= self.most:
            raise StoppedError(
                EngineError(
                    f"nothing was trained in {now} rollout batches in a row: {told(number, plan)} "
                    "Fix the cause and continue with --resume; run.max_silent_batches sets after "
                    "how many a run ends, null for never"
                )
            )
        self.count = now
        if now == 1 and says:
            logger.warning(f"nothing is trained: {told(number, plan)}")


def trains(plan: Plan) -> bool:
    """Whether a plan has an advantage that is not 0."""
    samples = plan.samples
    return bool(np.any((samples.advantage_M != 0) & ~samples.padding_M))


def told(number: int, plan: Plan) -> str:
    """Counts of a batch that trains nothing, and likely causes."""
    if plan.rollouts is None:
        return f"of the {plan.unscored} rollouts of batch {number} {NO_REWARD}"
    found = plan.diagnosis
    asked = found["questions"]
    right, wrong = (round(found[name] * asked) for name in ("all_correct", "all_incorrect"))
    missing = f", {plan.unscored} rollouts without a reward" if plan.unscored else ""
    equal = round(found["silent_questions"] * asked)
    return (
        f"in batch {number} the rollouts of {equal} of {asked} questions all have the same reward "
        f"({right} questions all right, {wrong} all wrong, right being a reward above 0.5{missing})"
        f". {RIGHT if right > wrong else WRONG}"
    )
