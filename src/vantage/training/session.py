"""Draws the questions of each rollout batch, and plans its training samples.

Only the engine handles tokens, pixels and processes. For each rollout batch, it calls:

    session.begin(number, done)             starts a rollout batch
    questions = session.draw(count)         the engine generates and scores their rollouts
    session.record(outcomes, tokens)        passes the rewards to the question sampler
    outcomes = session.refill(outcomes, ask_again)
    plan = session.plan(outcomes)
    session.count(plan)                     too many batches without a gradient end the run
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from vantage.methods import Recipe
from vantage.questions.prompts import Prompts
from vantage.questions.sampling import Asked, Sampling
from vantage.training import checkpoints
from vantage.training.planning import Outcomes, Plan, make_plan
from vantage.training.stopping import Silence, StoppedError

O = TypeVar("O", bound=Outcomes)  # noqa: E741, outcomes with the columns of an engine


class Session:
    """The questions and plans of a run.

    Attributes:
        recipe: Plans every rollout batch.
        prompts: Makes the prompts of the questions.
        sampling: Question sampler, which draws the questions.
        rows: Data rows to train on; the sampler draws indices into this list.
        silence: Counter of consecutive batches without a gradient.
        seed: Seed of the run.
        questions: Number of questions per rollout batch.
        number: Number of the current rollout batch, from 0.
        asked: Number of questions drawn for this batch so far.
        generated_tokens: Number of tokens in the rollouts of these questions.
    """

    def __init__(
        self,
        recipe: Recipe,
        prompts: Prompts,
        sampling: Sampling,
        rows: Sequence[int],
        silence: Silence,
        *,
        seed: int,
        questions: int,
        identity: Mapping[str, str],
    ):
        self.recipe, self.prompts, self.sampling = recipe, prompts, sampling
        self.rows, self.silence, self.seed, self.questions = rows, silence, seed, questions
        self.number, self.asked, self.generated_tokens = 0, 0, 0
        self._identity = dict(identity)
        self._open: dict[int, Asked] = {}

    def begin(self, number: int, done: float) -> None:
        """Start rollout batch `number` at training progress `done`, from 0 to 1."""
        self.number, self.asked, self.generated_tokens = number, 0, 0
        self._open.clear()
        self.prompts.begin(done=done)

    @contextlib.contextmanager
    def restored_if_stopped(self) -> Iterator[None]:
        """Restore the state of the question sampler if the run stops in the context.

        A run resumed from the checkpoint then repeats the rollout batch that was not trained.
        """
        before = copy.deepcopy(self.sampling.state_dict())
        try:
            yield
        except StoppedError:
            self.sampling.load_state_dict(before)
            raise

    def draw(self, questions: int) -> range:
        """Draw the next questions, and return their ids in the batch."""
        drawn = self.sampling.draw(questions)
        ids = self.prompts.ask([Asked(self.rows[q], epoch) for q, epoch in drawn])
        self._open = dict(zip(ids, drawn, strict=True))
        self.asked += questions
        return ids

    def record(self, outcomes: Outcomes, tokens: int) -> None:
        """Pass the rewards of the questions drawn last to the question sampler.

        Args:
            outcomes: Scored rollouts of these questions.
            tokens: Number of tokens generated for them.
        """
        self.generated_tokens += tokens
        self.sampling.record(list(self._open.values()), outcomes.rewards(list(self._open)))

    def refill(
        self,
        outcomes: O,
        ask_again: Callable[[int], O | None],
        forget: Callable[[O], None] | None = None,
    ) -> O:
        """Replace silent questions by new ones, at most `recipe.refills` times.

        Args:
            outcomes: Scored rollouts of the questions drawn first.
            ask_again: Takes the number of missing questions, and returns recorded outcomes of at
                least that many new questions, or None if there are none.
            forget: Receives the outcomes that are left out, for an engine that stores their rows.

        Returns:
            Outcomes of at most `questions` questions; silent ones only fill remaining places.
        """
        for _ in range(self.recipe.refills):
            answered = len(np.unique(outcomes.question_N))
            missing = self.questions - answered + len(outcomes.silent())
            if missing <= 0:
                break
            more = ask_again(missing)
            if more is not None:
                outcomes = outcomes.joined(more)
                chosen = outcomes.informative_first()[: self.questions]
                chosen_N = np.isin(outcomes.question_N, chosen)
                if forget is not None:
                    forget(outcomes.take(np.flatnonzero(~chosen_N)))
                outcomes = outcomes.take(np.flatnonzero(chosen_N))
        return outcomes

    @property
    def batches_per_epoch(self) -> int:
        """Rollout batches per epoch; questions that do not fill a batch move to the next epoch."""
        return max(1, len(self.rows) // self.questions)

    def plan(self, outcomes: Outcomes) -> Plan:
        """Make the plan of the batch.

        Raises:
            StoppedError: The recipe failed.
        """
        try:
            return make_plan(self.recipe, outcomes, self.seed, self.number, self.prompts.done)
        except (Exception, SystemExit) as error:  # a user's recipe can raise anything
            raise StoppedError(error) from error

    def count(self, plan: Plan, *, warns: bool = True) -> None:
        """Count the batch if its plan has no gradient.

        Args:
            plan: The plan of the batch, made on all processes.
            warns: Whether this process logs a warning.

        Raises:
            StoppedError: Too many consecutive batches had no gradient.
        """
        self.silence.take(self.number, plan, says=warns)

    def metrics(self, plan: Plan) -> dict[str, float]:
        """Engine-independent metrics of the batch."""
        return {
            **{f"plan/{name}": value for name, value in plan.diagnosis.items()},
            "plan/unscored": plan.unscored,
            "questions/asked": self.asked,
            **{f"questions/{name}": value for name, value in self.sampling.metrics().items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: that of the question sampler, and the identity of its data."""
        return {
            "questions": len(self.rows),
            "rows": self._identity,
            "state": self.sampling.state_dict(),
            "silent": self.silence.count,
        }

    def load_state_dict(self, saved: Mapping[str, Any], where: str = "--resume") -> None:
        """Restore a state.

        Args:
            saved: State from `state_dict`.
            where: Name of the checkpoint, for error messages.

        Raises:
            InputError: The state belongs to other data.
        """
        checkpoints.check_same_rows(where, saved, len(self.rows), self._identity)
        self.sampling.load_state_dict(saved["state"])
        self.silence.count = int(saved.get("silent", 0))
