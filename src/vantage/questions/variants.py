"""Several prompts a question: other wordings and transformed images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vantage.errors import ConfigError, nearest
from vantage.questions.schema import Question, prepend, with_text
from vantage.questions.transforms import TRANSFORMS


@dataclass(frozen=True)
class Variants:
    """How the prompts of a question are made. The first is always the original.

    Attributes:
        count: prompts a question, m.
        rewrites: column with other wordings (a list of texts) of the question.
        transforms: names of image transforms, see `vantage.questions.transforms`.
        probability: chance that a prompt's images are transformed, one transform each.

    Raises:
        ConfigError: a value out of range, or an unknown transform.
    """

    count: int = 1
    rewrites: str | None = None
    transforms: tuple[str, ...] = ()
    probability: float = 0.3

    def __post_init__(self):
        object.__setattr__(self, "transforms", tuple(self.transforms))
        if not isinstance(self.count, int) or self.count < 1:
            raise ConfigError(f"variants.count={self.count!r}: expected a whole number from 1")
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"variants.probability={self.probability!r}: expected 0 to 1")
        for name in self.transforms:
            if name not in TRANSFORMS:
                raise ConfigError(f"variants.transforms: no {name!r}; {nearest(name, TRANSFORMS)}")
        if self.count > 1 and not (self.rewrites or self.transforms):
            raise ConfigError(
                f"variants.count={self.count} but nothing to vary: "
                "set variants.rewrites (a column) or variants.transforms"
            )

    def expand(
        self, question: Question, rewrites: list[str], rng: np.random.Generator
    ) -> list[Question]:
        """`count` prompts of one question; those that are the same are one object.

        Args:
            question: the original.
            rewrites: other wordings of its text, possibly none.
            rng: keyed by the caller, so that a prompt can be made again anywhere.
        """
        wordings = [question.text, *rng.permutation(rewrites).tolist()]
        prompts = [question]
        for number in range(1, self.count):
            reworded = with_text(question, wordings[number % len(wordings)])
            prompts.append(self._transformed(reworded, rng) if question.images else reworded)
        return [prompts[prompts.index(prompt)] for prompt in prompts]

    def _transformed(self, question: Question, rng: np.random.Generator) -> Question:
        if not self.transforms or rng.random() >= self.probability:
            return question
        transform = TRANSFORMS[self.transforms[rng.integers(len(self.transforms))]]
        images = tuple(transform.apply(image, rng) for image in question.images)
        return prepend(replace(question, images=images), transform.note)
