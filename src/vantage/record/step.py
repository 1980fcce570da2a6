"""What an engine hands to the record."""

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
    """What a run is, known before its first rollout. All of it can be written as JSON.

    Attributes:
        engine: "trl" or "verl".
        recipe: as a configuration names it: a name, or {name: ..., option: value}.
        seed: of the run; the plan of batch k draws from
            `np.random.default_rng([seed, k])`, and takes `Step.done` of that batch.
        updates: optimizer updates that the samples of a plan are dealt to.
        batches: rollout batches that the run will have, None where that is not known.
        settings: what two runs must share to be the same run under two seeds; so without
            seeds and without places in the file system.
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
    """Everything that one rollout batch leaves: N rollouts of all processes, M samples.

    Made once the last update of the batch is done, on the process that writes. Rollouts
    that were generated and replaced before the plan are not among the N; their tokens are
    in `generated_tokens`.

    Attributes:
        number: of the rollout batch, from 0; what the draws of its plan were keyed by.
        row_N: row in the data of the question of each rollout.
        question_N: id of the question that the plan went by (`Rollouts.row_N`), which
            differs from the row in that a row can be asked twice in a batch.
        epoch_N: how often the data went round before the question was asked.
        prompt_N: id of the prompt that generated it (`Rollouts.prompt_N`).
        variant_N: number of that prompt among those of its question, 0 the first.
        parts: reward of each reward function, by its name, NaN where it gave none.
        reward_N: what the plan saw, NaN without a score; such rollouts were not planned.
        responses: N texts; only those that are kept are looked at.
        tokens_N: response tokens that count.
        log_prob_N: mean log-prob of the sampled tokens as the update saw it before it
            began, NaN where nobody computed it.
        samples: the plan, `rollout_M` pointing into the N rollouts; empty without a score.
        update_M: number of the update that trains each sample, from 0; any for padding.
        prompts: prompt id -> the question as the model got it, for every id in `prompt_N`;
            its pictures are opened only if they are kept.
        seconds: by stage; "rollout_batch" is the whole.
        metrics: what `vantage.diagnose` and the engine tell of the batch.
        updates: optimizer updates of the run that are done.
        generated_tokens: tokens generated for the batch.
        done: share of the training that was done when the batch began, as the plan saw it.

    Raises:
        InputError: columns of unequal lengths, no reward, samples that point nowhere, or a
            rollout whose prompt is not there.
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
            raise InputError("parts of a Step is empty: name at least one reward")
        if len(set(lengths.values())) > 1:
            raise InputError(f"columns of a Step have unequal lengths: {lengths}")
        if len(self.update_M) != len(self.samples):
            raise InputError(
                f"update_M has {len(self.update_M)} rows for {len(self.samples)} samples"
            )
        rollout_M = self.samples.rollout_M
        if len(rollout_M) and not 0 <= rollout_M.min() <= rollout_M.max() < len(self):
            raise InputError(f"samples point to rollouts outside the {len(self)} of the Step")
        missing = sorted(set(np.unique(self.prompt_N).tolist()) - set(self.prompts))
        if missing:
            raise InputError(f"prompts of the Step lack {missing[:5]}, which prompt_N names")

    def __len__(self) -> int:
        return len(self.reward_N)

    @property
    def scored(self) -> np.ndarray:
        """Rows of the rollouts that were planned."""
        return np.flatnonzero(~np.isnan(self.reward_N))

    @property
    def rollouts(self) -> Rollouts:
        """What the plan saw.

        Raises:
            InputError: no rollout has a score.
        """
        rows = self.scored
        return Rollouts(self.question_N[rows], self.prompt_N[rows], self.reward_N[rows])
