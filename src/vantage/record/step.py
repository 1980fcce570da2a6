"""Data that an engine passes to the recorder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vantage.errors import InputError
from vantage.methods.rollouts import Rollouts, Samples
from vantage.questions.schema import Question


@dataclass(frozen=True)
class About:
    """Description of a run, known before its first rollout; every value is valid JSON.

    Attributes:
        engine: "trl" or "verl".
        recipe: The recipe as in a configuration: a name, or {name: ..., option: value}.
        seed: The run's seed. The plan of batch k uses `np.random.default_rng([seed, k])` and
            `Step.done` of that batch.
        updates: Optimizer updates of a rollout batch.
        batches: Rollout batches of the whole run; None if unknown.
        settings: Settings that are equal in two runs which differ only in their seed; they include
            neither seeds nor paths.
    """

    engine: str
    recipe: str | Mapping[str, Any]
    seed: int
    updates: int
    batches: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.recipe if isinstance(self.recipe, str) else str(self.recipe["name"])


@dataclass(frozen=True, eq=False)
class Step:
    """A completed rollout batch: N rollouts of all processes and M samples.

    The writing process creates it after the last update of the batch. Rollouts that were replaced
    before the plan are not included; `generated_tokens` counts their tokens.

    Attributes:
        number: Number of the rollout batch, from 0; used to seed the plan.
        row_N: Row of each rollout's question in the data.
        question_N: Id of the question in the plan (`Rollouts.question_N`). It differs from the row,
            which can be asked twice in a batch.
        epoch_N: Completed epochs when the question was asked.
        prompt_N: Id of the prompt that generated the rollout (`Rollouts.prompt_N`).
        variant_N: Number of that prompt among the prompts of its question, from 0.
        parts: Values of each reward function by its name; NaN where it returned none.
        reward_N: Rewards that the plan uses; NaN without a score, and not planned.
        responses: N texts; only those that are kept are read.
        tokens_N: Response tokens in the loss.
        log_prob_N: Mean log-prob of the sampled tokens before the updates; NaN if not computed.
        samples: The plan. `rollout_M` indexes the N rollouts. Empty if no rollout has a score.
        update_M: Number of the update that each sample belongs to, from 0; arbitrary for padding.
        prompts: The question in each prompt, by every id in `prompt_N`. Images are only opened if
            they are kept.
        seconds: Seconds of each stage; "rollout_batch" is the total.
        metrics: Metrics of `vantage.diagnose` and of the engine.
        updates: Completed optimizer updates of the run.
        generated_tokens: Tokens generated for the batch.
        done: Completed share of the training at the start of the batch, as passed to the plan.

    Raises:
        InputError: If columns have unequal lengths, there is no reward function, a sample indexes
            no rollout, or a prompt is missing.
    """

    number: int
    row_N: np.ndarray
    question_N: np.ndarray
    epoch_N: np.ndarray
    prompt_N: np.ndarray
    variant_N: np.ndarray
    parts: Mapping[str, np.ndarray]
    reward_N: np.ndarray
    responses: Sequence[str]
    tokens_N: np.ndarray
    log_prob_N: np.ndarray
    samples: Samples
    update_M: np.ndarray
    prompts: Mapping[int, Question]
    seconds: Mapping[str, float]
    metrics: Mapping[str, float]
    updates: int
    generated_tokens: int
    done: float = 0.0

    def __post_init__(self):
        columns = {name: value for name, value in vars(self).items() if name.endswith("_N")}
        columns |= {f"parts[{name!r}]": part_N for name, part_N in self.parts.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        lengths["responses"] = len(self.responses)
        if not self.parts:
            raise InputError("parts of a Step is empty: expected at least one reward")
        if len(set(lengths.values())) > 1:
            raise InputError(f"columns of a Step have unequal lengths: {lengths}")
        if len(self.update_M) != len(self.samples):
            raise InputError(
                f"update_M has {len(self.update_M)} rows for {len(self.samples)} samples"
            )
        rollout_M = self.samples.rollout_M
        if len(rollout_M) and not 0 <= rollout_M.min() <= rollout_M.max() < len(self):
            raise InputError(f"rollout_M has values outside the {len(self)} rollouts of the Step")
        missing = sorted(set(np.unique(self.prompt_N).tolist()) - set(self.prompts))
        if missing:
            raise InputError(f"prompts of the Step lack {missing[:5]}, which are in prompt_N")

    def __len__(self) -> int:
        return len(self.reward_N)

    @property
    def scored(self) -> np.ndarray:
        """Indices of the rollouts with a score, which are those in the plan."""
        return np.flatnonzero(~np.isnan(self.reward_N))

    @property
    def rollouts(self) -> Rollouts:
        """The scored rollouts, the input of the plan.

        Raises:
            InputError: If no rollout has a score.
        """
        rows = self.scored
        return Rollouts(self.question_N[rows], self.prompt_N[rows], self.reward_N[rows])
