"""Several prompts per question: rewrites and transformed images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator, model_validator

from vantage.errors import nearest
from vantage.questions.orientation import changing
from vantage.questions.schema import (
    Question,
    pictures,
    prepend,
    with_pictures,
    with_text,
    written,
)
from vantage.questions.transforms import FAINTEST, PUBLISHED, TRANSFORMS, Applied
from vantage.sections import Section


class Fade(Section):
    """Noise that fades during training: sigma (1 - sigmoid(steepness (t - midpoint))).

    t is the training progress, 0 to 1. Source: NoisyRollout, https://arxiv.org/abs/2504.13055,
    sec. 3, whose 60 steps have the midpoint 40 and the steepness 30.
    """

    midpoint: float = Field(2 / 3, ge=0, le=1)
    steepness: float = Field(30.0, gt=0, le=1e6)

    def strength(self, done: float) -> float:
        """Factor of sigma, from 1 to 0, at training progress `done` (0 to 1)."""
        return 1 / (1 + math.exp(min(self.steepness * (done - self.midpoint), 700)))


class Transforms(Section):
    """Image transforms of the prompts; by default the published rotations and noise.

    Attributes:
        names: Names of the transforms, see `vantage.questions.transforms`.
        probability: Probability that the images of a prompt are transformed, with one transform.
        allowed: Column that lists the transforms allowed for a row. Rows without a list are
            checked by `vantage.questions.orientation`.
        fade: Schedule of the noise; None keeps it constant.
    """

    names: list[str] = Field(PUBLISHED, min_length=1)
    probability: float = Field(0.3, ge=0, le=1)
    allowed: str | None = None
    fade: Fade | None = None

    @field_validator("names")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in TRANSFORMS:
                raise ValueError(f"unknown transform {name!r}; {nearest(name, TRANSFORMS)}")
        return names


class Variants(Section):
    """How a question is varied into several prompts.

    Attributes:
        count: Prompts per question, m.
        rewrites: Column with rewrites (a list of texts) of the question.
        transforms: Image transforms; None for no transforms.
        original: Whether the first prompt is the unchanged question. If False, the wordings of
            all prompts are drawn uniformly without replacement from the original and its rewrites,
            and any prompt may be transformed, as in the code of Share-GRPO,
            https://arxiv.org/abs/2505.16673. If a question has fewer wordings than prompts, the
            wordings repeat in the same order, each with its own transform.
    """

    prompts: int = Field(1, ge=1, le=10_000)
    rewrites: str | None = None
    transforms: Transforms | None = None
    original: bool = True

    @model_validator(mode="after")
    def _something_to_vary(self) -> Variants:
        if (self.prompts > 1 or not self.original) and not (self.rewrites or self.transforms):
            raise ValueError(
                f"prompts={self.prompts} and original={self.original}, but nothing to vary: "
                "set rewrites (a column) or transforms"
            )
        return self

    def expand(
        self,
        question: Question,
        rng: np.random.Generator,
        *,
        rewrites: Sequence[str] = (),
        answer: str = "",
        allowed: Sequence[str] | None = None,
        done: float = 0.0,
    ) -> list[Question]:
        """Make `prompts` prompts from one question; equal prompts are the same object.

        No image is opened: a transform is a processing step that runs when the image is opened.

        Args:
            question: The original question.
            rng: Seeded by the caller, so that any process can rebuild the prompts.
            rewrites: Rewrites of the question's text.
            answer: Reference answer, which is searched for words that depend on orientation.
            allowed: Transforms allowed for this question; None decides by its words.
            done: Training progress, 0 to 1.
        """
        wordings = self._wordings(question, rewrites, rng)
        fitting = self._fitting(question, answer, allowed)
        prompts = [question] if self.original else []
        for number in range(len(prompts), self.prompts):
            reworded = wordings[number % len(wordings)]
            prompts.append(self._transformed(reworded, fitting, done, rng))
        return [prompts[prompts.index(prompt)] for prompt in prompts]

    def notes(self, images: int) -> list[str]:
        """All notes that a prompt with this number of images may contain."""
        if self.transforms is None or not images:
            return []
        chosen = [TRANSFORMS[name] for name in self.transforms.names]
        sigma = 0.123 if self.transforms.fade else None  # as long as any faded sigma in print
        return [note for transform in chosen for note in transform.wordings(images, sigma)]

    def _wordings(
        self, question: Question, rewrites: Sequence[str], rng: np.random.Generator
    ) -> list[Question]:
        """The question in all its wordings, in the order in which prompts use them."""
        others = [with_text(question, text) for text in rewrites]
        if self.original:
            return [question, *(others[place] for place in rng.permutation(len(others)))]
        texts = {one.text: one for one in (question, *others)}
        distinct = list(texts.values())
        return [distinct[place] for place in rng.permutation(len(distinct))]

    def _fitting(self, question: Question, answer: str, allowed: Sequence[str] | None) -> list[str]:
        """Transforms that do not change the answer of this question."""
        if self.transforms is None or not pictures(question):
            return []
        if allowed is not None:
            return [name for name in self.transforms.names if name in allowed]
        turns = (*(question.earlier or ()), *question.later)
        around = [written(turn) for turn in turns if turn["role"] != "system"]
        risky = changing(" ".join([*around, question.text]), answer)
        return [name for name in self.transforms.names if TRANSFORMS[name].kind not in risky]

    def _transformed(
        self, question: Question, fitting: list[str], done: float, rng: np.random.Generator
    ) -> Question:
        chance, place, seed = rng.random(), rng.random(), int(rng.integers(2**32))
        if self.transforms is None or not fitting or chance >= self.transforms.probability:
            return question
        name = fitting[int(place * len(fitting))]
        sigma = TRANSFORMS[name].sigma
        if sigma and self.transforms.fade:
            sigma *= self.transforms.fade.strength(done)
        if TRANSFORMS[name].turn is None and sigma < FAINTEST:
            return question
        images = [
            image.then(Applied(name, sigma, seed + number if sigma else 0))
            for number, image in enumerate(pictures(question))
        ]
        wordings = TRANSFORMS[name].wordings(len(images), sigma)
        note = wordings[rng.integers(len(wordings))]
        return prepend(with_pictures(question, images), note)
