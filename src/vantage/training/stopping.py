"""Ends a run between rollout batches if the user's code fails or batches have no gradient."""

from __future__ import annotations

import logging

import numpy as np

from vantage.errors import EngineError
from vantage.training.planning import Plan

logger = logging.getLogger(__name__)

NO_REWARD = (
    "none has a reward: all reward functions, or one with a nonzero weight, returned None or NaN. "
    "Does a reward function fail, does the judge or verifier respond, and does the data have the "
    "columns that the reward reads?"
)
WRONG = (
    "Is the answer column the right one, does the reward accept its values (vantage check shows "
    "it), are responses cut off, or are the questions too hard for the model?"
)
RIGHT = "Are the questions too easy for the model, or does the reward accept anything?"


class StoppedError(Exception):
    """Ends the run before the current rollout batch is trained.

    Attributes:
        error: The reason, which is raised to the user once a checkpoint is saved.
    """

    def __init__(self, error: BaseException):
        super().__init__(str(error))
        self.error = error


class Silence:
    """Counts consecutive rollout batches without a gradient.

    Attributes:
        most: Count at which the run ends; None for never.
        count: Current count; saved in checkpoints.
    """

    def __init__(self, most: int | None, count: int = 0):
        self.most, self.count = most, count

    def take(self, number: int, plan: Plan, *, says: bool = True) -> None:
        """Count a batch if it has no gradient, and log a warning at the first of a series.

        Args:
            number: Number of the batch, from 0.
            plan: Plan of the batch.
            says: Whether this process logs the warning.

        Raises:
            StoppedError: The count reaches `most`. The last batch is not added to `count`, since
                a resumed run generates it again.
        """
        now = 0 if trains(plan) else self.count + 1
        if self.most is not None and now >= self.most:
            raise StoppedError(
                EngineError(
                    f"no gradient in {now} rollout batches in a row: {told(number, plan)} "
                    "Fix the cause and continue with --resume; run.max_silent_batches sets the "
                    "number of such batches after which a run ends, null for never"
                )
            )
        self.count = now
        if now == 1 and says:
            logger.warning(f"no gradient: {told(number, plan)}")


def trains(plan: Plan) -> bool:
    """Whether a plan has a nonzero advantage."""
    samples = plan.samples
    return bool(np.any((samples.advantage_M != 0) & ~samples.padding_M))


def told(number: int, plan: Plan) -> str:
    """Describe a batch without a gradient, with likely causes."""
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
