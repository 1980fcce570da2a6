"""The prompts of a rollout batch, made from the data and the seed wherever they are needed."""

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
from vantage.questions.reading import Reader, is_text_alone
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

# Keeps these draws apart from others that are keyed by seed, epoch and question.
VARIANTS = 2


@dataclass
class Prompts:
    """Prompts have an id: place of their question in the batch times variants, plus variant.

    Every process can make any prompt of the batch again, so that a row that moves to another
    process travels as an id. Making a prompt opens no image; `render` does.

    Attributes:
        rows: the data.
        variants: prompts a question.
        template, system: put around every question, see `vantage.questions.schema.frame`; the
            template may name columns, see `vantage.questions.templates`.
        seed: of the variants; they also depend on the epoch and the question.
        bounds: pixels of an image; others are scaled, before anything sees them.
        length: of a text, by which the longest wording of a question is found.
        reserved: texts that the processor takes for a picture, which no question may write.
    """

    rows: Reader
    variants: Variants = field(default_factory=Variants)
    template: str = "{question}"
    system: str | None = None
    seed: int = 0
    bounds: Bounds = field(default_factory=Bounds)
    length: Callable[[str], int] = len
    reserved: Sequence[str] = ()
    _asked: list[Asked] = field(default_factory=list)
    _done: float = 0.0
    _sources: dict[int, dict[str, Any]] = field(default_factory=dict)
    _made: dict[int, Question] = field(default_factory=dict)
    _written: dict[tuple[int, Hashable], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a template that names what is no column."""
        rows = self.rows.rows
        if rows.format["type"] is None:  # a transform makes its columns row by row
            templates.check_template(self.template, rows.column_names)

    def begin(self, done: float) -> None:
        """Forget the last batch; a share `done` of the training is done."""
        self._asked, self._done = [], done
        self._sources.clear()
        self._made.clear()
        self._written.clear()

    @property
    def done(self) -> float:
        """Share of the training that was done when the batch began."""
        return self._done

    def ask(self, asked: Sequence[Asked]) -> range:
        """Add questions to the batch; the places that they get."""
        self._asked.extend(asked)
        return range(len(self._asked) - len(asked), len(self._asked))

    def asked(self, place: int) -> Asked:
        """The question at a place in the batch."""
        return self._asked[place]

    def source(self, prompt: int) -> dict[str, Any]:
        """Row of the data behind a prompt, its images unread; the same object each time."""
        place = prompt // self.variants.prompts
        if place not in self._sources:
            self._sources[place] = self.rows.unread(self.rows[self._asked[place].question])
        return self._sources[place]

    def prompt(self, prompt: int) -> Question:
        """The prompt of that id."""
        if prompt not in self._made:
            place = prompt // self.variants.prompts
            source = self.rows[self._asked[place].question]
            made = self._expanded(place, source)
            framed = {id(question): self._framed(question, source) for question in made}
            for number, question in enumerate(made, start=place * self.variants.prompts):
                self._made[number] = framed[id(question)]
        return self._made[prompt]

    def written_as(self, prompt: int, way: Hashable) -> int:
        """An id for a prompt that is written in another way than `prompt` is; below 0."""
        found = self._written.setdefault((prompt, way), -1 - len(self._written))
        self._made[found] = self.prompt(prompt)
        return found

    def ids(self, places: Sequence[int], rollouts: int) -> np.ndarray:
        """Prompt of each rollout of some places, `rollouts` a prompt; equal ones share an id."""
        count = self.variants.prompts
        prompts = [place * count + number for place in places for number in range(count)]
        first: dict[int, int] = {}
        shared = [first.setdefault(id(self.prompt(prompt)), prompt) for prompt in prompts]
        return np.repeat(np.array(shared, dtype=np.int64), rollouts)

    def original(self, source: Mapping[str, Any]) -> Question:
        """The question of any row, not varied, inside the template."""
        return self._framed(self._read(source), source)

    def longest(self, source: Mapping[str, Any]) -> Question:
        """The longest prompt that a row may give: its longest wording, with the longest note."""
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
            done=self._done,
        )

    def _read(self, source: Mapping[str, Any]) -> Question:
        return with_step(read(source), self.bounds)

    def _framed(self, question: Question, source: Mapping[str, Any]) -> Question:
        refuse(question, self.reserved)
        return frame(question, filled(self.template, source), self.system)


def put(question: Question, template: str, system: str | None, bounds: Bounds) -> Question:
    """A question as it is asked: its pictures within the bounds, inside the template."""
    return frame(with_step(question, bounds), template, system)


@dataclass(frozen=True)
class _RowCheck:
    """Looks at rows as training will."""

    prompts: Prompts
    rows: Reader | list[dict[str, Any]]
    pixels: bool = True
    takes: Acceptance | None = None

    def part(self, places: range) -> list[Fault]:
        """Faults of rows that follow each other."""
        if not isinstance(self.rows, Reader):
            return [fault for place in places for fault in self(place)]
        try:
            sources = list(self.rows.part(places))
        except Exception:  # as below: told of the row that has it
            return [fault for place in places for fault in self(place)]
        pairs = zip(places, sources, strict=True)
        return [fault for place, source in pairs for fault in self._look(place, source)]

    def __call__(self, row: int) -> list[Fault]:
        try:
            source = self.rows[row]
        except Exception as error:  # whatever Arrow or a decoder raises
            return [Fault.of(row, "", "", f"cannot be read: {error}")]
        return self._look(row, source)

    def _look(self, row: int, source: dict[str, Any]) -> list[Fault]:
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
    """Read every row as training will, so that none fails in the middle of a run.

    Args:
        prompts: how the rows are asked.
        name: of the rows, for the message.
        rows: the data; of a stream the first row alone is looked at.
        pixels: whether pictures are opened, and rewrites put in their places.
        takes: what the processor takes; None to try no picture.

    Raises:
        ConfigError: a template that names what is no column.
        InputError: rows that cannot become a prompt; names the first twenty.
    """
    read_from = _opened(rows)
    row_check = _RowCheck(prompts, read_from, pixels, takes)
    found = over_parts(row_check.part, len(read_from), f"Checking {name}")
    faults = [fault for part in found for fault in part]
    if faults:
        raise InputError(message(name, faults))


def _opened(rows: Dataset | IterableDataset) -> Reader | list[dict[str, Any]]:
    """Rows by number; of a stream the first one."""
    return list(islice(rows, 1)) if isinstance(rows, IterableDataset) else Reader(rows)


def has_images(rows: Dataset | IterableDataset) -> bool:
    """Whether any row has images, told without decoding one."""
    return first_with_images(rows) is not None


def first_with_images(rows: Dataset | IterableDataset) -> dict[str, Any] | None:
    """The first row that has images, found without decoding one; None where there is none.

    Of a stream the first row alone is looked at.
    """
    if isinstance(rows, Dataset) and is_text_alone(rows):
        return None
    reader = _opened(rows)
    sources = (reader[row] for row in range(len(reader)))
    return next((source for source in sources if pictures(read(source))), None)
