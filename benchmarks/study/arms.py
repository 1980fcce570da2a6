"""The arms of the study; all generate the same number of rollouts per batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ROLLOUTS = 256  # per batch


@dataclass(frozen=True)
class Arm:
    """A recipe with the sizes of its groups.

    Attributes:
        recipe: The recipe, as in a configuration.
        prompts: Prompts per question.
        rollouts: Rollouts per prompt.
        rewrites, transforms: Whether the prompts of a question use rewrites, image transforms.
        updates: Optimizer updates per batch.
        sampling: The order of questions, as in a configuration.
        trl: Further options of the trainer.
    """

    recipe: str | dict[str, Any]
    prompts: int = 1
    rollouts: int = 16
    rewrites: bool = False
    transforms: bool = False
    updates: int = 4
    sampling: str | dict[str, Any] = "shuffle"
    trl: dict[str, Any] = field(default_factory=dict)

    @property
    def questions(self) -> int:
        """Questions per rollout batch."""
        return ROLLOUTS // (self.prompts * self.rollouts)

    @property
    def variants(self) -> dict[str, Any]:
        """The section `variants` of a configuration."""
        if self.prompts == 1:
            return {}
        return {
            "prompts": self.prompts,
            **({"rewrites": "new_questions"} if self.rewrites else {}),
            **({"transforms": {}} if self.transforms else {}),
        }


def _shared(recipe: str | dict[str, Any], **options) -> Arm:
    both = {"rewrites": True, "transforms": True}
    return Arm(recipe, **{"prompts": 2, "rollouts": 8, **both, **options})


ARMS = {
    "grpo": Arm("grpo"),
    "grpo, n = 8": Arm("grpo", rollouts=8),
    "grpo, n = 4": Arm("grpo", rollouts=4),
    "2-grpo": Arm("grpo", rollouts=2),
    "dr-grpo": Arm("dr-grpo"),
    "gspo": Arm("gspo"),
    "dapo-filter": Arm("dapo-filter"),
    "pods": Arm("pods"),
    "pts alone": Arm({"name": "custom", "selection": "pairwise"}),
    "abs alone": Arm({"name": "custom", "ordering": "advantage-shuffle"}),
    "shuffle-r1": Arm("shuffle-r1"),
    "share-grpo": _shared("share-grpo"),
    "share-grpo, rewrites": _shared("share-grpo", transforms=False),
    "share-grpo, transforms": _shared("share-grpo", rewrites=False),
    "share-shuffle": _shared("share-shuffle"),
    "share-shuffle, n = 2": _shared("share-shuffle", rollouts=2),
    "share-shuffle, n = 2, rewrites": _shared("share-shuffle", rollouts=2, transforms=False),
}


def _compose(**stages) -> dict[str, Any]:
    return {"name": "custom", **stages}


SHUFFLE = {"ordering": "advantage-shuffle"}
CLIP_HIGHER = {"epsilon": 0.2, "epsilon_high": 0.3}  # as in the sharing recipes

# Variations of an arm, at its learning rate: name -> (arm, variation).
ABLATIONS = {
    "keep 0.25": ("shuffle-r1", Arm({"name": "shuffle-r1", "fraction": 0.25})),
    "keep 0.75": ("shuffle-r1", Arm({"name": "shuffle-r1", "fraction": 0.75})),
    "4 rounds": ("shuffle-r1", Arm({"name": "shuffle-r1", "rounds": 4})),
    "16 rounds": ("shuffle-r1", Arm({"name": "shuffle-r1", "rounds": 16})),
    "random half": (
        "shuffle-r1",
        Arm(_compose(selection={"name": "random", "fraction": 0.5}, **SHUFFLE)),
    ),
    "top half": (
        "shuffle-r1",
        Arm(_compose(selection={"name": "top-magnitude", "fraction": 0.5}, **SHUFFLE)),
    ),
    "max-variance half": (
        "shuffle-r1",
        Arm(_compose(selection={"name": "max-variance", "fraction": 0.5}, **SHUFFLE)),
    ),
    "8 updates": ("shuffle-r1", Arm("shuffle-r1", updates=8)),
    "grpo, 8 updates": ("grpo", Arm("grpo", updates=8)),
    "m = 4, n = 4": ("share-grpo", _shared("share-grpo", prompts=4, rollouts=4)),
    "not hierarchical": (
        "share-grpo",
        _shared(_compose(sharing="all-prompts"), trl=CLIP_HIGHER),
    ),
    "not shared": (
        "share-grpo",
        _shared(_compose(estimator="hierarchical"), trl=CLIP_HIGHER),
    ),
}


def _candidate(name: str, **options) -> dict[str, Any]:
    return {"name": f"study.candidates:{name}", **options}


# Attempts to make share-shuffle learn faster, on validation.
CANDIDATES = {
    "evenly drawn": _shared(_candidate("tempered", power=0.0)),
    "weights to 0.5": _shared(_candidate("tempered", power=0.5)),
    "weights to 2": _shared(_candidate("tempered", power=2.0)),
    "at most twice": _shared(_candidate("capped", most=2)),
    "once": _shared(_candidate("once")),
    "no pair dropped": _shared({"name": "share-shuffle", "fraction": 1.0}),
    "reward range": _shared(_candidate("ranged")),
    "positive half": _shared(_candidate("asymmetric")),
    "refilled": _shared(_candidate("refilled")),
    "n = 4, 32 questions": _shared("share-shuffle", rollouts=4),
    "n = 2, 64 questions": _shared("share-shuffle", rollouts=2),
    "m = 4, n = 4 each": _shared("share-shuffle", prompts=4, rollouts=4),
    "share-shuffle, 8 updates": _shared("share-shuffle", updates=8),
    "two passes": _shared("share-shuffle", trl={"num_iterations": 2}),
    "rewrites alone": _shared("share-shuffle", transforms=False),
    "n = 2, rewrites alone": _shared("share-shuffle", rollouts=2, transforms=False),
    "n = 2, once": _shared(_candidate("once"), rollouts=2),
    "n = 2, refilled": _shared(_candidate("refilled"), rollouts=2),
    "n = 2, no pair dropped": _shared({"name": "share-shuffle", "fraction": 1.0}, rollouts=2),
    "n = 2, skip-silent": _shared("share-shuffle", rollouts=2, sampling="skip-silent"),
}

EVERY = ARMS | {name: arm for name, (_, arm) in ABLATIONS.items()} | CANDIDATES


def base_of(name: str) -> str:
    """The arm whose learning rate an arm uses."""
    if name in ARMS:
        return name
    return ABLATIONS[name][0] if name in ABLATIONS else "share-shuffle"
