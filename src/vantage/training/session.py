"""One rollout batch after another: which questions are asked, and the plan made of the answers.

An engine drives it and knows tokens, pixels and processes; the session knows none of them:

    session.begin(number, done)             a rollout batch begins
    questions = session.draw(count)         the engine generates and scores their rollouts
    session.record(outcomes, tokens)        the sampling learns the rewards
    outcomes = session.refill(outcomes, ask_again)
    plan = session.plan(outcomes)
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
        recipe: plans every rollout batch.
        prompts: makes the prompts of the questions.
        sampling: draws the questions.
        rows: rows of the data that are asked; the sampling draws numbers of this list.
        silence: the last batches in a row that trained nothing.
        seed: of the run.
        questions: of a rollout batch.
        number: of the rollout batch, from 0.
        asked: questions drawn for it so far; generated_tokens: tokens of their rollouts.
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
        """Begin rollout batch `number`; a share `done` of the training is done."""
        self.number, self.asked, self.generated_tokens = number, 0, 0
        self._open.clear()
        self.prompts.begin(done=done)

    @contextlib.contextmanager
    def restored_if_stopped(self) -> Iterator[None]:
        """Within it, a run that stops leaves the sampling as it was before, for a checkpoint."""
        before = copy.deepcopy(self.sampling.state_dict())
        try:
            yield
        except StoppedError:
            self.sampling.load_state_dict(before)
            raise

    def draw(self, questions: int) -> range:
        """Draw the next questions; returns their ids in the batch."""
        drawn = self.sampling.draw(questions)
        ids = self.prompts.ask([Asked(self.rows[q], epoch) for q, epoch in drawn])
        self._open = dict(zip(ids, drawn, strict=True))
        self.asked += questions
        return ids

    def record(self, outcomes: Outcomes, tokens: int) -> None:
        """Tell the sampling the rewards of the questions that were drawn last.

        Args:
            outcomes: of these questions.
            tokens: that were generated for them.
        """
        self.generated_tokens += tokens
        self.sampling.record(list(self._open.values()), outcomes.rewards(list(self._open)))

    def refill(
        self,
        outcomes: O,
        ask_again: Callable[[int], O | None],
        forget: Callable[[O], None] | None = None,
    ) -> O:
        """Replace silent questions by new ones, as often as the recipe says.

        Args:
            outcomes: of the questions drawn first.
            ask_again: (number of questions that are missing) -> recorded outcomes of at least so
                many new questions, None if nothing came back.
            forget: takes the outcomes that are left out, where an engine holds their rows.

        Returns:
            Outcomes of at most `questions` questions, silent ones only where others are missing.
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
        """Rollout batches of an epoch; questions that fill none are left for the next."""
        return max(1, len(self.rows) // self.questions)

    def plan(self, outcomes: Outcomes, *, warns: bool = True) -> Plan:
        """The plan of the batch.

        Args:
            outcomes: of the batch.
            warns: whether this process logs a warning about a batch that trains nothing.

        Raises:
            StoppedError: the recipe failed, or too many batches in a row trained nothing.
        """
        try:
            plan = make_plan(self.recipe, outcomes, self.seed, self.number, self.prompts.done)
        except (Exception, SystemExit) as error:  # of a recipe of the user's own
            raise StoppedError(error) from error
        self.silence.take(self.number, plan, says=warns)
        return plan

    def metrics(self, plan: Plan) -> dict[str, float]:
        """Metrics of the batch that do not depend on the engine."""
        return {
            **{f"plan/{name}": value for name, value in plan.diagnosis.items()},
            "plan/unscored": plan.unscored,
            "questions/asked": self.asked,
            **{f"questions/{name}": value for name, value in self.sampling.metrics().items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """The state of the sampling, for a checkpoint, and what it must fit when it is loaded."""
        return {
            "questions": len(self.rows),
            "rows": self._identity,
            "state": self.sampling.state_dict(),
            "silent": self.silence.count,
        }

    def load_state_dict(self, saved: Mapping[str, Any], where: str = "--resume") -> None:
        """Continue from a state.

        Args:
            saved: as `state_dict` returns it.
            where: names the checkpoint in errors.

        Raises:
            InputError: the run had other data.
        """
        checkpoints.check_same_rows(where, saved, len(self.rows), self._identity)
        self.sampling.load_state_dict(saved["state"])
        self.silence.count = int(saved.get("silent", 0))
