"""The prompts of a rollout batch, made from the data and the seed wherever they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from vantage.errors import InputError
from vantage.questions.pixels import fit
from vantage.questions.schema import Question, frame, read, with_text
from vantage.questions.variants import Variants


@dataclass
class Prompts:
    """Prompts have an id: place of their question in the batch times variants, plus variant.

    Every process can make any prompt of the batch again, so that a row that moves to another
    process travels as an id, and its images are loaded where it lands.

    Attributes:
        rows: the data, with `prompt` and, for pictures, `image` or `images`.
        variants: prompts a question.
        template, system: put around every question, see `vantage.questions.schema.frame`.
        seed: of the variants; they also depend on the batch and the place in it.
        least, most: pixels of an image; others are scaled, before anything sees them.
    """

    rows: Dataset
    variants: Variants
    template: str
    system: str | None
    seed: int
    least: int | None = None
    most: int | None = None
    _number: int = 0
    _ids: Sequence[int] = ()
    _sources: dict[int, dict[str, Any]] = field(default_factory=dict)
    _made: dict[int, Question] = field(default_factory=dict)

    def ask(self, number: int, ids: Sequence[int]) -> None:
        """Turn to rollout batch `number`, which asks the rows `ids`; forget the last one."""
        self._number, self._ids = number, ids
        self._sources.clear()
        self._made.clear()

    def source(self, prompt: int) -> dict[str, Any]:
        """Row of the data behind a prompt."""
        place = prompt // self.variants.count
        if place not in self._sources:
            self._sources[place] = self.rows[self._ids[place]]
        return self._sources[place]

    def prompt(self, prompt: int) -> Question:
        """The prompt of that id."""
        if prompt not in self._made:
            source, place = self.source(prompt), prompt // self.variants.count
            rng = np.random.default_rng([self.seed, self._number, place])
            made = self.variants.expand(self._read(source), self._rewrites(source), rng)
            framed = {id(variant): self._framed(variant) for variant in made}
            for number, variant in enumerate(made, start=place * self.variants.count):
                self._made[number] = framed[id(variant)]
        return self._made[prompt]

    def ids(self, rollouts: int) -> np.ndarray:
        """Prompt of each rollout of the batch, `rollouts` of each; equal variants share an id."""
        prompts = range(len(self._ids) * self.variants.count)
        if self.variants.count == 1:
            return np.repeat(prompts, rollouts)
        first: dict[int, int] = {}
        shared = [first.setdefault(id(self.prompt(prompt)), prompt) for prompt in prompts]
        return np.repeat(shared, rollouts)

    def original(self, source: Mapping[str, Any]) -> Question:
        """The question of any row, not varied, inside the template."""
        return self._framed(self._read(source))

    def _read(self, source: Mapping[str, Any]) -> Question:
        question = read(source)
        images = tuple(fit(image, self.least, self.most) for image in question.images)
        return replace(question, images=images)

    def _framed(self, question: Question) -> Question:
        return frame(question, self.template, self.system)

    def check(self, name: str, rows: Dataset) -> bool:
        """Read every row once, so that none fails in the middle of a run.

        Returns:
            Whether any row has images.

        Raises:
            InputError: rows that cannot become a prompt; names the first twenty.
        """
        bad, pictures = [], False
        for row in tqdm(range(len(rows)), desc=f"Reading {name}", disable=len(rows) < 5_000):
            try:
                pictures |= self._has_images(rows, row)
            except InputError as error:
                bad.append(f"row {row}: {error}")
        if bad:
            shown = bad[:20] + [f"and {len(bad) - 20} more"] * (len(bad) > 20)
            raise InputError("\n".join([f"{name} has rows that cannot be used:", *shown]))
        return pictures

    def _has_images(self, rows: Dataset, row: int) -> bool:
        try:
            source = rows[row]
        except Exception as error:  # whatever a decoder raises on a broken image
            raise InputError(f"cannot be read: {error}") from error
        question = read(source)
        self._framed(question)
        for text in self._rewrites(source):
            with_text(question, text)
        return bool(question.images)

    def _rewrites(self, source: Mapping[str, Any]) -> list[str]:
        column = self.variants.rewrites
        texts = source.get(column) if column else None
        if not texts:
            return []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"column {column!r} holds {str(texts)[:80]!r}, expected a list of texts"
            )
        return texts
