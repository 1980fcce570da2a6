"""Writes the record of a run on veRL, from the driver."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vantage import config as configuration
from vantage.config import Config
from vantage.questions.prompts import Prompts
from vantage.record import About, Keep, Recorder
from vantage.record.bounds import kept
from vantage.training.inputs import part_names
from vantage.training.planning import totals
from vantage.training.recording import Writing, data_rows
from vantage.training.shape import shape_of
from vantage.training.verl import store
from vantage.training.verl.arrangement import Generated

# veRL's name of the mean of a reward function in validation.
MEAN = re.compile(r"val-(?:core|aux)/validation/(.+)/mean@\d+")

# Stage of the record -> names of its parts in veRL's timings.
STAGES = {
    "generate": ("gen",),
    "plan": ("plan", "rows"),
    "log_probs": ("old_log_prob", "ref"),
    "update": ("adv", "update_actor"),
    "rollout_batch": ("batch",),
}


class VerlRecording(Writing):
    """Writes rollout batches and validations of a run.

    Args:
        config: Configuration of the run.
    """

    def __init__(self, config: Config):
        super().__init__()
        self._config = config

    def start(self, start: int, batches: int, questions: int) -> None:
        """Open the record; rollout batches from `start` on will be written.

        Args:
            start: Number of the next rollout batch, from 0.
            batches: Number of rollout batches of the run.
            questions: Number of data rows to train on.
        """
        run = self._config.run
        described = about(self._config, batches, questions)
        keep = Keep(**run.record.model_dump())
        self.open(Recorder(run.output, described, start=start, keep=keep))

    def texts(self, generated: Generated, prompts: Prompts, tokenizer: Any) -> dict[int, str]:
        """Read the responses that the record keeps from veRL's store.

        Args:
            generated: Rollouts of the batch.
            prompts: Prompts of their questions.
            tokenizer: Decodes the responses.

        Returns:
            Rollout -> text of its response.
        """
        wanted = kept(data_rows(generated, prompts), self._config.run.record.rollouts)
        rollouts = np.flatnonzero(wanted).tolist()
        keys = [generated.keys[rollout] for rollout in rollouts]
        return dict(zip(rollouts, store.responses(keys, tokenizer), strict=True))

    def validated(self, batch: int, metrics: Mapping[str, Any], seconds: float) -> None:
        """Write the results of a validation, with the same names as on TRL.

        Args:
            batch: Number of rollout batches trained so far.
            metrics: veRL's metrics of the validation.
            seconds: Duration of the validation.
        """
        results = {
            found[1] if found[1] == "reward" else f"rewards/{found[1]}/mean": float(value)
            for name, value in metrics.items()
            if (found := MEAN.fullmatch(name)) and found[1] != "score" and not math.isnan(value)
        }
        super().validated(batch, results, seconds)


def seconds_of(timing_raw: Mapping[str, float]) -> dict[str, float]:
    """Seconds per stage, from veRL's timings; 0 for stages that veRL did not time."""
    return {
        stage: sum(timing_raw.get(name, 0.0) for name in names) for stage, names in STAGES.items()
    }


def means_of_scored(
    metrics: Mapping[str, Any], found: Mapping[str, Sequence[Any]], weights: Mapping[str, float]
) -> dict[str, float]:
    """Recompute means of a validation without unscored responses, which veRL counts as 0.

    Args:
        metrics: veRL's metrics, whose names select the means to recompute.
        found: Name of a reward function -> its value for each of N responses, None or NaN for none.
        weights: Name of a reward function -> weight.

    Returns:
        The means by veRL's names; NaN if no response has a reward.
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


def about(config: Config, batches: int, questions: int) -> About:
    """Describe a run before its first rollout.

    Args:
        config: Configuration of the run.
        batches: Number of rollout batches of the run.
        questions: Number of data rows to train on.
    """
    values = configuration.as_values(config)
    for name in ("seed", "output", "record"):
        values["run"].pop(name)
    return About(
        engine="verl",
        recipe=config.recipe,
        seed=config.run.seed,
        updates=shape_of(config).updates,
        batches=batches,
        settings={**values, "questions": questions},
    )
