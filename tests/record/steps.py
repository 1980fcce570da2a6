"""Synthetic steps for the tests of the record."""

import numpy as np
from PIL import Image

from vantage.methods import recipe
from vantage.methods.ordering import update_of
from vantage.methods.rollouts import Rollouts
from vantage.questions.pictures import Picture
from vantage.questions.schema import Question
from vantage.questions.transforms import Applied
from vantage.record import About, Step

UPDATES = 4
ABOUT = About("trl", {"name": "share-shuffle", "rounds": 4}, seed=7, updates=UPDATES, batches=50)
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}


def picture(question: int, size: tuple[int, int] = (20, 10)) -> Picture:
    return Picture(Image.new("RGB", size, (question * 40 % 256, 100, 200)))


def made(
    number: int,
    *,
    questions: int = 4,
    variants: int = 2,
    group: int = 4,
    response: str = "I say {0}",
    reward_N: np.ndarray | None = None,
    about: About = ABOUT,
    done: float = 0.0,
) -> Step:
    """Return step `number` of a run that asks the same questions in every batch."""
    rng = np.random.default_rng([1, number])
    question_N = np.repeat(np.arange(questions), variants * group)
    variant_N = np.tile(np.repeat(np.arange(variants), group), questions)
    prompt_N = question_N * variants + variant_N
    accuracy_N = (rng.random(len(question_N)) < 0.5).astype(float)
    if reward_N is None:
        reward_N = 0.9 * accuracy_N + 0.1
    scored = np.flatnonzero(~np.isnan(reward_N))
    rollouts = Rollouts(question_N[scored], prompt_N[scored], reward_N[scored])
    name, options = about.name, dict(about.recipe) if not isinstance(about.recipe, str) else {}
    options.pop("name", None)
    rng = np.random.default_rng([about.seed, number])
    plan = recipe(name, **options).plan(rollouts, rng, done)
    plan = plan.take(np.arange(len(plan)), rollout_M=scored[plan.rollout_M])
    return Step(
        number=number,
        row_N=question_N + 100,
        question_N=question_N,
        epoch_N=np.full(len(question_N), number),
        prompt_N=prompt_N,
        variant_N=variant_N,
        parts={"accuracy": accuracy_N, "format": np.ones(len(question_N))},
        reward_N=reward_N,
        responses=[response.format(n) for n in range(len(question_N))],
        tokens_N=np.arange(len(question_N)) + 1,
        log_prob_N=np.full(len(question_N), -0.5),
        samples=plan,
        update_M=update_of(plan, about.updates),
        prompts={
            place * variants + variant: _asked(place, variant)
            for place in range(questions)
            for variant in range(variants)
        },
        seconds={"generate": 1.0, "update": 2.0, "rollout_batch": 3.5},
        metrics={"reward": float(np.nanmean(reward_N)), "silent_rollouts": 0.25},
        updates=(number + 1) * about.updates,
        generated_tokens=int((np.arange(len(question_N)) + 1).sum()),
        done=done,
    )


def _asked(place: int, variant: int) -> Question:
    image = picture(place)
    if variant:
        image = image.then(Applied("clockwise"))
    return Question(f"<image>What is {place}, asked {variant}?", (image,), (SYSTEM,))
