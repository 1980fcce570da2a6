"""What a training on veRL writes down of each rollout batch; the driver writes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vantage import config as configuration
from vantage.config import Config
from vantage.methods.composition import update_of
from vantage.record import About, Recorder, Step
from vantage.record.bounds import kept
from vantage.training.inputs import part_names
from vantage.training.planning import totals
from vantage.training.recording import Writing, columns_of
from vantage.training.shape import shape_of

if TYPE_CHECKING:
    from vantage.training.verl.trainer import VantageTrainer

# How veRL names the mean of a reward over the questions that are held out.
MEAN = re.compile(r"val-(?:core|aux)/validation/(.+)/mean@\d+")

# Names of the stages, and what veRL times of each.
STAGES = {
    "generate": ("gen",),
    "plan": ("plan", "rows"),
    "log_probs": ("old_log_prob", "ref"),
    "update": ("adv", "update_actor"),
    "rollout_batch": ("batch",),
}


class Recording:
    """The record of a run, from the rollout batch that comes next."""

    def __init__(self, trainer: VantageTrainer):
        settings = trainer.settings
        self._recorder = Recorder(
            settings.run.output,
            about(settings, trainer.total_training_steps, len(trainer.prompts.rows)),
            start=trainer.global_steps,
            keep=settings.run.record,
        )
        self._writing = Writing()
        self._rollouts = settings.run.record.rollouts

    def rows(self, question_N: np.ndarray) -> np.ndarray:
        """Rollouts whose texts are kept."""
        return np.flatnonzero(kept(question_N, self._rollouts))

    def append(self, step: Step) -> None:
        """Write a rollout batch down."""
        self._writing.write(lambda: self._recorder.append(step), f"rollout batch {step.number}")

    def validated(self, batch: int, metrics: Mapping[str, Any], seconds: float) -> None:
        """Write the results of a validation down, by the names that they have on TRL."""
        results = {
            found[1] if found[1] == "reward" else f"rewards/{found[1]}/mean": float(value)
            for name, value in metrics.items()
            if (found := MEAN.fullmatch(name)) and found[1] != "score" and not math.isnan(value)
        }
        validated = self._recorder.validated
        self._writing.write(lambda: validated(batch, results, seconds), "validation")

    def close(self) -> None:
        """Let others write the record."""
        self._writing.settle()
        self._recorder.close()


def means_of_scored(
    metrics: Mapping[str, Any], found: Mapping[str, Sequence[Any]], weights: Mapping[str, float]
) -> dict[str, float]:
    """Means of a validation over the responses that have a reward; veRL would count none as 0.

    Args:
        metrics: of veRL; those that are means over the rewards are made anew.
        found: what each reward gave each of N responses, None or NaN for nothing.
        weights: of the rewards, as in the configuration.

    Returns:
        The means by veRL's names, NaN where no response has a reward.
    """
    names = part_names(weights)
    part_NF = np.array([found[name] for name in names], dtype=float).T
    reward_N = totals(part_NF, list(weights.values()))
    value_N = dict(zip(names, part_NF.T, strict=True)) | {"reward": reward_N, "score": reward_N}
    named = ((name, MEAN.fullmatch(name)) for name in metrics)
    wanted = {name: value_N[one[1]] for name, one in named if one and one[1] in value_N}
    return {
        name: float(np.mean(values[~np.isnan(values)])) if not np.isnan(values).all() else math.nan
        for name, values in wanted.items()
    }


def about(settings: Config, batches: int, questions: int) -> About:
    """What a run is, before its first rollout."""
    values = configuration.as_values(settings)
    for name in ("seed", "output", "record"):
        values["run"].pop(name)
    return About(
        engine="verl",
        recipe=settings.recipe,
        seed=settings.run.seed,
        updates=shape_of(settings).updates,
        batches=batches,
        settings={**values, "questions": questions},
    )


def step_of(trainer: VantageTrainer, texts: Mapping[int, str], log_prob_N: np.ndarray) -> Step:
    """The rollout batch whose updates were just done.

    Args:
        trainer: at work on it.
        texts: responses that are kept, by rollout.
        log_prob_N: mean log-prob of each response, NaN where nobody computed it.
    """
    generated, plan, settings = trainer.generated, trainer.plan, trainer.settings
    timed = trainer.timing_raw
    updates = shape_of(settings).updates
    return Step(
        number=trainer.global_steps - 1,
        parts=dict(zip(part_names(settings.rewards), generated.part_NF.T, strict=True)),
        responses=[texts.get(row, "") for row in range(len(generated.keys))],
        tokens_N=generated.lengths(),
        log_prob_N=log_prob_N,
        samples=plan.samples,
        update_M=update_of(plan.samples, updates),
        seconds={
            stage: sum(timed.get(name, 0.0) for name in names) for stage, names in STAGES.items()
        },
        metrics=plan.diagnosis,
        updates=trainer.global_steps * updates,
        generated_tokens=trainer.generated_tokens,
        **columns_of(generated, trainer.prompts),
    )
