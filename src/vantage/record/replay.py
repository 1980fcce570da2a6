"""What another recipe would have trained on, from the recorded rewards; no model is needed."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vantage.errors import InputError
from vantage.methods import Recipe, diagnose
from vantage.methods.rollouts import Rollouts, Samples
from vantage.record.reading import Record


@dataclass(frozen=True, eq=False)
class Replay:
    """Two plans of each rollout batch, in numbers.

    Attributes:
        steps: the rollout batches that had a scored rollout, B of them.
        done: what was trained, name -> a value a batch; see `measures`.
        would: what the other recipe would have trained.
        same_B: batches whose two plans are equal, value by value.
    """

    steps: list[int]
    done: dict[str, np.ndarray]
    would: dict[str, np.ndarray]
    same_B: np.ndarray


def replay(record: Record, recipe: Recipe) -> Replay:
    """Plan the recorded batches again, with the draws that the run's seed gives.

    The recipe that ran gives exactly what was trained. Of another one it says what it would
    have trained on these very rollouts; that a policy trained otherwise would have given
    other rollouts, no replay can tell.

    Raises:
        InputError: the record has no scored rollout.
    """
    done, would, same, steps = [], [], [], []
    for step in record.steps:
        rollouts, trained, _ = record.planned(step)
        if rollouts is not None:
            rng = np.random.default_rng([record.about.seed, step])
            samples = recipe.plan(rollouts, rng, record.done(step))
            done.append(measures(rollouts, trained, record.about.updates))
            would.append(measures(rollouts, samples, record.about.updates))
            same.append(equal(trained, samples))
            steps.append(step)
    if not steps:
        raise InputError(f"{str(record.run)!r} has no scored rollout yet: nothing can be replayed")
    return Replay(steps, _columns(done), _columns(would), np.array(same))


def measures(rollouts: Rollouts, samples: Samples, updates: int) -> dict[str, float]:
    """A plan in numbers: those of `vantage.diagnose`, and

    - trained_questions: distinct questions with a sample whose advantage is not 0;
    - samples_per_update: samples without padding, over the updates of a batch.
    """
    told = samples.rollout_M[~samples.padding_M & (samples.advantage_M != 0)]
    return {
        **diagnose(rollouts, samples),
        "trained_questions": len(np.unique(rollouts.question_N[told])),
        "samples_per_update": float((~samples.padding_M).sum()) / updates,
    }


def equal(one: Samples, other: Samples) -> bool:
    """Whether two plans train the same, in the same order."""
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(Samples)
    )


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
