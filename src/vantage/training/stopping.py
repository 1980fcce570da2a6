"""What ends a run between two rollout batches: code of the user that fails, or no signal."""

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
    """The run ends before the rollout batch at work is trained.

    Attributes:
        error: what is told: of code of the user that failed on some process, or of silence.
    """

    def __init__(self, error: BaseException):
        super().__init__(str(error))
        self.error = error


class Silence:
    """Rollout batches in a row that trained nothing.

    Attributes:
        most: of them the run ends; None for no end.
        count: of them so far; it belongs into checkpoints.
    """

    def __init__(self, most: int | None, count: int = 0):
        self.most, self.count = most, count

    def take(self, number: int, plan: Plan, *, says: bool = True) -> None:
        """Count a batch, and say so at the first in a row.

        Args:
            number: of the batch, from 0.
            plan: what is trained of it.
            says: whether this process speaks for all.

        Raises:
            StoppedError: it is the last that a run may have; it is not counted, as it is not
                trained.
        """
        now = 0 if trains(plan) else self.count + 1
        if self.most is not None and now >= self.most:
            raise StoppedError(
                EngineError(
                    f"nothing was trained in {now} rollout batches in a row: {told(number, plan)} "
                    "Mend it and go on with --resume; run.silent_batches says after how many "
                    "a run ends, null for never"
                )
            )
        self.count = now
        if now == 1 and says:
            logger.warning(f"nothing is trained: {told(number, plan)}")


def trains(plan: Plan) -> bool:
    """Whether a plan has an advantage that is not 0."""
    samples = plan.samples
    return bool(np.any((samples.advantage_M != 0) & ~samples.filler_M))


def told(number: int, plan: Plan) -> str:
    """What became of a batch that trains nothing, and why that may be."""
    if plan.rollouts is None:
        return f"of the {plan.unscored} rollouts of batch {number} {NO_REWARD}"
    found = plan.diagnosis
    asked = found["questions"]
    right, wrong = (round(found[name] * asked) for name in ("all_right", "all_wrong"))
    missing = f", {plan.unscored} rollouts without a reward" if plan.unscored else ""
    equal = round(found["silent_questions"] * asked)
    return (
        f"in batch {number} the rollouts of {equal} of {asked} questions all have the same reward "
        f"({right} questions all right, {wrong} all wrong, right being a reward above 0.5{missing})"
        f". {RIGHT if right > wrong else WRONG}"
    )
