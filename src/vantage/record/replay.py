"""Replay: the plans of another recipe on recorded rewards, without a model."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vantage.errors import InputError
from vantage.methods import Recipe, diagnose
from vantage.methods.rollouts import Rollouts, Samples
from vantage.record.reading import Record


@dataclass(frozen=True, eq=False)
class Replay:
    """Measures of the trained and the replayed plan of each rollout batch.

    Attributes:
        steps: Numbers of the B rollout batches with a scored rollout.
        done: Measures of the trained plans, arrays of length B by name; see `measures`.
        would: Measures of the replayed plans.
        same_B: Whether the two plans of a batch are equal.
    """

    steps: list[int]
    done: dict[str, np.ndarray]
    would: dict[str, np.ndarray]
    same_B: np.ndarray


def replay(record: Record, recipe: Recipe) -> Replay:
    """Plan the recorded batches again, with the random numbers of the run's seed.

    The run's own recipe reproduces the trained plans exactly. Another recipe is applied to the
    same rollouts, although a policy trained by it would have generated others.

    Raises:
        InputError: If the record has no scored rollout.
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
    """Compute the measures of a plan: those of `vantage.diagnose`, and

    - trained_questions: number of questions with a sample whose advantage is not 0;
    - samples_per_update: number of samples per update, without padding.
    """
    told = samples.rollout_M[~samples.padding_M & (samples.advantage_M != 0)]
    return {
        **diagnose(rollouts, samples),
        "trained_questions": len(np.unique(rollouts.question_N[told])),
        "samples_per_update": float((~samples.padding_M).sum()) / updates,
    }


def equal(one: Samples, other: Samples) -> bool:
    """Return whether two plans have the same samples in the same order."""
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(Samples)
    )


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
