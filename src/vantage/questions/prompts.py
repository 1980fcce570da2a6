"""Prompts of a rollout batch, reproducible on every process from the data and the seed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset

from vantage.errors import InputError
from vantage.questions import templates
from vantage.questions.acceptance import Acceptance
from vantage.questions.examining import Attempts, check_allowed, examine_question
from vantage.questions.faults import Fault, message
from vantage.questions.parallel import over_parts
from vantage.questions.pixels import Bounds
from vantage.questions.reading import Reader, is_text_alone, read_part
from vantage.questions.sampling import Asked
from vantage.questions.schema import (
    Question,
    frame,
    pictures,
    prepend,
    read,
    refuse,
    rewrites,
    with_step,
    with_text,
)
from vantage.questions.templates import filled
from vantage.questions.variants import Variants

# Separates this random stream from others with the same (seed, epoch, question).
VARIANTS = 2


@dataclass
class Prompts:
    """Makes the prompts of a rollout batch.

    The id of a prompt is (index of its question in the batch) x (number of variants) + variant.
    Every process can rebuild any prompt from its id, so moving a row to another process only sends
    the id. Making a prompt opens no image; `render` does.

    Attributes:
        rows: The data set.
        variants: How a question is varied into several prompts.
        template, system: Template and system message of every question, see
            `vantage.questions.schema.frame`. The template may name columns, see
            `vantage.questions.templates`.
        seed: Seed of the variants, combined with the epoch and the question.
        bounds: Limits on the pixels of an image, applied before anything else sees the image.
        length: Length of a text, used to find the longest wording of a question.
        reserved: Placeholder texts of the processor, which no question may contain.
        done: Training progress (0 to 1) at the start of the batch.
    """

    rows: Reader
    variants: Variants = field(default_factory=Variants)
    template: str = "{question}"
    system: str | None = None
    seed: int = 0
    bounds: Bounds = field(default_factory=Bounds)
    length: Callable[[str], int] = len
    reserved: Sequence[str] = ()
    done: float = field(default=0.0, init=False)
    _asked: list[Asked] = field(default_factory=list)
    _sources: dict[int, dict[str, Any]] = field(default_factory=dict)
    _made: dict[int, Question] = field(default_factory=dict)
    _written: dict[tuple[int, Hashable], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject a template that names an unknown column."""
        rows = self.rows.rows
        if rows.format["type"] is None:  # with a transform, columns are only known row by row
            templates.check_template(self.template, rows.column_names)

    def begin(self, done: float) -> None:
        """Start a new batch at training progress `done` (0 to 1)."""
        self._asked, self.done = [], done
        self._sources.clear()
        self._made.clear()
        self._written.clear()

    def ask(self, asked: Sequence[Asked]) -> range:
        """Add questions to the batch and return their indices in it."""
        self._asked.extend(asked)
        return range(len(self._asked) - len(asked), len(self._asked))

    def asked(self, place: int) -> Asked:
        """The question at an index of the batch."""
        return self._asked[place]

    def source(self, prompt: int) -> dict[str, Any]:
        """The data set row of a prompt, with images unread; cached, so always the same object."""
        place = prompt // self.variants.prompts
        if place not in self._sources:
            self._sources[place] = self.rows.unread(self.rows[self._asked[place].question])
        return self._sources[place]

    def prompt(self, prompt: int) -> Question:
        """Return the prompt with this id."""
        if prompt not in self._made:
            place = prompt // self.variants.prompts
            source = self.rows[self._asked[place].question]
            made = self._expanded(place, source)
            framed = {id(question): self._framed(question, source) for question in made}
            for number, question in enumerate(made, start=place * self.variants.prompts):
                self._made[number] = framed[id(question)]
        return self._made[prompt]

    def written_as(self, prompt: int, way: Hashable) -> int:
        """Return a negative id for `prompt` written in a different form `way`."""
        found = self._written.setdefault((prompt, way), -1 - len(self._written))
        self._made[found] = self.prompt(prompt)
        return found

    def ids(self, places: Sequence[int], rollouts: int) -> np.ndarray:
        """Prompt ids of all rollouts of some questions; equal prompts share an id.

        Args:
            places: Indices of the questions in the batch.
            rollouts: Number of rollouts per prompt.
        """
        count = self.variants.prompts
        prompts = [place * count + number for place in places for number in range(count)]
        first: dict[int, int] = {}
        shared = [first.setdefault(id(self.prompt(prompt)), prompt) for prompt in prompts]
        return np.repeat(np.array(shared, dtype=np.int64), rollouts)

    def original(self, source: Mapping[str, Any]) -> Question:
        """The original question of a row, inside the template."""
        return self._framed(self._read(source), source)

    def longest(self, source: Mapping[str, Any]) -> Question:
        """The longest prompt a row can give: its longest wording with the longest note."""
        question = self._read(source)
        texts = rewrites(source, self.variants.rewrites)
        longest = question
        if texts:
            longest = with_text(question, max((question.text, *texts), key=self.length))
        notes = self.variants.notes(len(pictures(question)))
        noted = prepend(longest, max(notes, key=self.length)) if notes else longest
        return self._framed(noted, source)

    def _expanded(self, place: int, source: Mapping[str, Any]) -> list[Question]:
        asked = self._asked[place]
        transforms = self.variants.transforms
        rng = np.random.default_rng([VARIANTS, self.seed, asked.epoch, asked.question])
        return self.variants.expand(
            self._read(source),
            rng,
            rewrites=rewrites(source, self.variants.rewrites),
            answer=str(source.get("answer") or ""),
            allowed=source.get(transforms.allowed) if transforms and transforms.allowed else None,
            done=self.done,
        )

    def _read(self, source: Mapping[str, Any]) -> Question:
        return with_step(read(source), self.bounds)

    def _framed(self, question: Question, source: Mapping[str, Any]) -> Question:
        refuse(question, self.reserved)
        return frame(question, filled(self.template, source), self.system)


def put(question: Question, template: str, system: str | None, bounds: Bounds) -> Question:
    """Scale the images of a question to the bounds and insert it into the template."""
    return frame(with_step(question, bounds), template, system)


@dataclass(frozen=True)
class _RowCheck:
    """Checks rows in the way that training reads them."""

    prompts: Prompts
    rows: Reader | list[dict[str, Any]]
    pixels: bool = True
    takes: Acceptance | None = None

    def part(self, places: range) -> list[Fault]:
        """Faults of a range of consecutive rows."""
        pairs = zip(places, read_part(self.rows, places), strict=True)
        return [fault for place, source in pairs for fault in self._look(place, source)]

    def _look(self, row: int, source: dict[str, Any] | Exception) -> list[Fault]:
        if isinstance(source, Exception):
            return [Fault.of(row, "", "", f"cannot be read: {source}")]
        attempts, variants = Attempts(row, source), self.prompts.variants
        question = attempts.make("prompt", lambda: self.prompts.original(source))
        allowed_in = variants.transforms.allowed if variants.transforms else None
        attempts.make(allowed_in, lambda: check_allowed(source, allowed_in))
        if question is not None and self.pixels:
            examine_question(question, source, attempts, "images", variants.rewrites, self.takes)
        if question is not None and self.prompts.reserved:
            attempts.make(variants.rewrites, lambda: self._reword(source))
        return attempts.faults

    def _reword(self, source: dict[str, Any]) -> None:
        question = read(source)
        for text in rewrites(source, self.prompts.variants.rewrites):
            refuse(with_text(question, text), self.prompts.reserved)


def check_prompts(
    prompts: Prompts,
    name: str,
    rows: Dataset | IterableDataset,
    *,
    pixels: bool = True,
    takes: Acceptance | None = None,
) -> None:
    """Read every row as training does, so that no row fails in the middle of a run.

    Args:
        prompts: How the rows become prompts.
        name: Name of the data set for messages.
        rows: The data set; only the first row of a stream is checked.
        pixels: Whether to open the images and to check the rewrites.
        takes: Image sizes that the processor accepts; None skips this check.

    Raises:
        ConfigError: The template names an unknown column.
        InputError: Rows that cannot become a prompt; names the first twenty faults.
    """
    read_from = _opened(rows)
    row_check = _RowCheck(prompts, read_from, pixels, takes)
    found = over_parts(row_check.part, len(read_from), f"Checking {name}")
    faults = [fault for part in found for fault in part]
    if faults:
        raise InputError(message(name, faults))


def _opened(rows: Dataset | IterableDataset) -> Reader | list[dict[str, Any]]:
    """Rows by number; only the first row of a stream."""
    return list(islice(rows, 1)) if isinstance(rows, IterableDataset) else Reader(rows)


def has_images(rows: Dataset | IterableDataset) -> bool:
    """Whether any row has images. No image is decoded."""
    return first_with_images(rows) is not None


def first_with_images(rows: Dataset | IterableDataset) -> dict[str, Any] | None:
    """The first row with images; None if there is no such row. No image is decoded.

    Of a stream, only the first row is checked.
    """
    if isinstance(rows, Dataset) and is_text_alone(rows):
        return None
    reader = _opened(rows)
    sources = (reader[row] for row in range(len(reader)))
    return next((source for source in sources if pictures(read(source))), None)
