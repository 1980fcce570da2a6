"""One update by the trainer is the one that plain transformers compute by hand."""

from dataclasses import dataclass, field
from typing import Any

import by_hand
import numpy as np
import pytest
import torch
from by_hand import Objective, Row
from peft import LoraConfig
from training_cases import Reward, difference, mixed_rows, trained

TWO_PROMPTS = {"count": 2, "rewrites": "new_questions"}
CLOSE = 1e-5


@dataclass
class Case:
    """A run of one rollout batch, 4 rollouts a prompt, and the objective that it should have.

    Attributes:
        shows: what has to occur in the run, so that the case says something.
    """

    recipe: Any
    updates: int
    questions: int = 8
    live: tuple[int, ...] = (0, 3, 6)
    prompts: int = 1
    accumulation: int = 1
    objective: Objective = field(default_factory=Objective)
    options: dict = field(default_factory=dict)
    unscored: int = 0
    shows: str = ""

    def run(self, model, tmp_path, **options):
        rollouts = self.questions * self.prompts * 4
        forwards = self.updates * self.accumulation
        own = {
            "recipe": self.recipe,
            "reward": Reward(unscored=self.unscored),
            "variants": TWO_PROMPTS if self.prompts == 2 else None,
            "per_device_train_batch_size": rollouts // forwards,
            "gradient_accumulation_steps": self.accumulation,
            "steps_per_generation": forwards,
        }
        rows = mixed_rows(self.questions, self.live)
        return trained(model, rows, tmp_path, **{**own, **self.options, **options})


def planned(trainer) -> list[list[Row]]:
    """Rows of the plan by update, as the reward function saw their prompts and responses."""
    reward, samples, rollouts = trainer.reward_funcs[0], trainer.samples, trainer.rollouts
    scored = [row for row, score in enumerate(reward.rewards) if score is not None]
    prompts = {p: reward.prompts[row] for p, row in zip(rollouts.prompt_N, scored, strict=True)}
    question = dict(zip(rollouts.prompt_N, rollouts.question_N, strict=True))
    size = {p: sum(question[other] == question[p] for other in prompts) for p in prompts}
    weight = {p: 1 / size[p] ** 2 if trainer.recipe.shares else 1.0 for p in prompts}
    rows = [
        None if filler else Row(prompts[p], reward.responses[scored[r]], advantage, weight[p])
        for p, r, advantage, filler in zip(
            samples.prompt_M,
            samples.rollout_M,
            samples.advantage_M,
            samples.filler_M,
            strict=True,
        )
    ]
    updates, unit = trainer.args.updates, samples.unit_size
    cuts = [len(rows) // unit * number // updates * unit for number in range(updates + 1)]
    by_update = [rows[cuts[number] : cuts[number + 1]] for number in range(updates)]
    ends = trainer.eos_token_ids if trainer.args.mask_truncated_completions else range(10**6)
    return [
        [row for row in rows if row is not None and row.response[-1] in ends]
        for rows in by_update
    ]


def occurrences(trainer, by_update: list[list[Row]], clipped: list[float]) -> set[str]:
    """What of interest happened in a run."""
    rows = [row for rows in by_update for row in rows]
    seen = [{(id(row.prompt), id(row.response)) for row in rows} for rows in by_update]
    happened = {
        "filler": trainer.samples.filler_M.any(),
        "repeats": any(len(a) < len(b) for a, b in zip(seen, by_update, strict=True)),
        "images": {row.images for row in rows} == {0, 1, 2},
        "lengths": len({len(row.response) for row in rows}) > 3,
        "shared": np.any(
            trainer.samples.prompt_M != trainer.rollouts.prompt_N[trainer.samples.rollout_M]
        ),
        "clip": 0 < max(clipped) < 1,
        "silent": any(row.advantage == 0 for row in rows),
    }
    return {name for name, it_did in happened.items() if it_did}


HIGHER = Objective(upper=0.3)
SHUFFLE = {"name": "shuffle-r1", "rounds": 4}
SHARE_SHUFFLE = {"name": "share-shuffle", "rounds": 4}
CASES = {
    "grpo, one update": Case("grpo", 1, shows="images lengths silent"),
    "grpo": Case("grpo", 2, shows="images lengths silent clip"),
    "shuffle-r1, one update": Case(
        SHUFFLE, 1, questions=16, shows="images lengths repeats filler"
    ),
    "shuffle-r1": Case(
        SHUFFLE, 2, questions=16, accumulation=2, shows="images lengths repeats filler clip"
    ),
    "share-grpo, one update": Case(
        "share-grpo", 1, questions=4, prompts=2, shows="images lengths shared silent"
    ),
    "share-grpo": Case(
        "share-grpo",
        4,
        questions=4,
        prompts=2,
        accumulation=2,
        objective=HIGHER,
        shows="images lengths shared clip",
    ),
    "share-shuffle, one update": Case(
        SHARE_SHUFFLE,
        1,
        questions=9,
        live=(3, 6),
        prompts=2,
        shows="lengths shared repeats filler",
    ),
    "share-shuffle": Case(
        SHARE_SHUFFLE,
        2,
        questions=9,
        live=(3, 6),
        prompts=2,
        accumulation=3,
        objective=HIGHER,
        shows="lengths shared repeats filler clip",
    ),
    "dr-grpo": Case("dr-grpo", 2, objective=Objective(mean="constant"), shows="images clip"),
    "a mean over rows": Case(
        SHUFFLE,
        2,
        questions=16,
        accumulation=2,
        objective=Objective(mean="row"),
        options={"loss_type": "grpo"},
        shows="images filler clip",
    ),
    "the token mean of bnpo, shared": Case(
        "share-grpo",
        2,
        questions=4,
        prompts=2,
        accumulation=4,
        objective=HIGHER,
        options={"loss_type": "bnpo"},
        shows="images shared clip",
    ),
    "a mean over rows, shared": Case(
        "share-grpo",
        1,
        questions=4,
        prompts=2,
        objective=Objective(mean="row"),
        options={"loss_type": "grpo"},
        shows="images shared",
    ),
    "one ratio a response": Case(
        "grpo",
        2,
        objective=Objective(whole_ratio=True, lower=0.03, upper=0.04),
        options={"importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04},
        shows="images clip",
    ),
    "a reference": Case(
        "grpo", 2, accumulation=2, objective=Objective(kl=0.2), options={"beta": 0.2}
    ),
    "cold sampling, responses without a score": Case(
        "share-grpo",
        2,
        questions=4,
        prompts=2,
        objective=Objective(temperature=0.7, upper=0.3),
        options={"temperature": 0.7, "top_p": 0.9},
        unscored=3,
        shows="images shared",
    ),
    "cut responses left out": Case(
        "grpo", 2, options={"mask_truncated_completions": True}, shows="images"
    ),
    "questions left out": Case("dapo-filter", 1, shows="images"),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_of_every_update_are_those_by_hand(name, ragged_model, tmp_path):
    case = CASES[name]
    trainer, steps = case.run(ragged_model, tmp_path)
    by_update = planned(trainer)
    assert len(steps) == len(by_update) == case.updates
    clipped = []
    for step, rows in zip(steps, by_update, strict=True):
        first = steps[0].weights
        expected = by_hand.update(
            ragged_model, rows, case.objective, now=step.weights, then=first, reference=first
        )
        assert step.loss == pytest.approx(expected.loss, rel=CLOSE, abs=CLOSE / 10)
        assert difference(step.gradients, expected.gradients) < CLOSE
        clipped.append(expected.clipped)
    print(clipped, [len(r) for r in by_update])
    missing = set(case.shows.split()) - occurrences(trainer, by_update, clipped)
    assert not missing
