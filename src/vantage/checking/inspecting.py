"""Inspect rows: token counts, keys for comparison, special tokens in texts, and problems."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from vantage.checking.leakage import Key, Keys, key, moved
from vantage.checking.parity import Model, placed, same_ids
from vantage.questions.parallel import over_parts
from vantage.questions.pictures import Picture
from vantage.questions.prompts import Prompts
from vantage.questions.schema import (
    Question,
    pictures,
    read,
    render,
    rewrites,
    with_pictures,
    with_text,
    words,
)


class Look(NamedTuple):
    """Result of the inspection of a row.

    Attributes:
        key: Hashes that identify the row's question.
        tokens, image_tokens: Token counts of the longest prompt; 0 if the processor failed.
        hidden: Special tokens of the model that occur in the text.
        problem: Why the row cannot be encoded or encodes inconsistently; else empty.
        layout: See `layout`.
    """

    key: Key
    tokens: int = 0
    image_tokens: int = 0
    hidden: tuple[str, ...] = ()
    problem: str = ""
    layout: str = ""


@dataclass(frozen=True)
class Looks:
    """Results of many rows, column by column; see `Look`.

    Attributes:
        keys: Keys of the rows, with row numbers.
        token_Q, image_token_Q: Token counts of the longest prompt.
        layout_Q: Index of each row's layout in `layouts`.
        layouts: All layouts.
        hidden, problems: Values of the rows that have any, by index.
    """

    keys: Keys
    token_Q: np.ndarray
    image_token_Q: np.ndarray
    layout_Q: np.ndarray
    layouts: list[str]
    hidden: Mapping[int, tuple[str, ...]]
    problems: Mapping[int, str]

    @classmethod
    def of(cls, looks: Sequence[Look], numbers: Sequence[int]) -> Looks:
        """Combine the results of rows, given the numbers of the rows."""
        layouts = list(dict.fromkeys(look.layout for look in looks))
        return cls(
            Keys.of([(row, look.key) for row, look in zip(numbers, looks, strict=True)]),
            np.array([look.tokens for look in looks], dtype=np.int32),
            np.array([look.image_tokens for look in looks], dtype=np.int32),
            np.array([layouts.index(look.layout) for look in looks], dtype=np.int16),
            layouts,
            {place: look.hidden for place, look in enumerate(looks) if look.hidden},
            {place: look.problem for place, look in enumerate(looks) if look.problem},
        )

    @classmethod
    def joined(cls, parts: Sequence[Looks]) -> Looks:
        """Concatenate parts, at least one."""
        layouts = list(dict.fromkeys(name for part in parts for name in part.layouts))
        places = [
            np.array([layouts.index(n) for n in part.layouts], np.int16)[part.layout_Q]
            for part in parts
        ]
        lengths = [len(part) for part in parts]
        return cls(
            Keys.joined([part.keys for part in parts]),
            np.concatenate([part.token_Q for part in parts]),
            np.concatenate([part.image_token_Q for part in parts]),
            np.concatenate(places),
            layouts,
            moved([part.hidden for part in parts], lengths),
            moved([part.problems for part in parts], lengths),
        )

    def __len__(self) -> int:
        return len(self.token_Q)

    @property
    def row_Q(self) -> np.ndarray:
        """Number of each row."""
        return self.keys.row_Q

    def layout(self, place: int) -> str:
        """Layout of the row at an index."""
        return self.layouts[self.layout_Q[place]]


def layout(question: Question) -> str:
    """Describe the roles of a question's turns and its number of images."""
    if question.earlier is None:
        return "plain text"
    turns = (*question.earlier, question.turn, *question.later)
    shown = len(pictures(question))
    count = {0: "no image", 1: "1 image"}.get(shown, "several images")
    return f"{', '.join(str(turn['role']) for turn in turns)}; {count}"


@dataclass(frozen=True)
class Inspection:
    """Inspects rows by index; every image is decoded once.

    Attributes:
        prompts: The rows, and how they become prompts.
        model: The model without its weights; None to compute only keys.
        every: Stride of the rows that are also encoded from their text.
    """

    prompts: Prompts
    model: Model | None = None
    every: int = 1

    def over(self, numbers: Sequence[int], words: str) -> Looks:
        """Inspect all rows, in several processes.

        Args:
            numbers: Row numbers for the report.
            words: Label of the progress bar.
        """

        def look(part: range) -> Looks:
            return Looks.of(self.part(part), numbers[part.start : part.stop])

        return Looks.joined(over_parts(look, len(numbers), words))

    def __call__(self, row: int) -> Look:
        """Inspect one row."""
        return self.part(range(row, row + 1))[0]

    def part(self, rows: range) -> list[Look]:
        """Inspect consecutive rows; prompts without images are encoded in one batch."""
        if multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # one process per core already uses all cores
        sources = self.prompts.rows.part(rows)
        seen = [self._seen(row, source) for row, source in zip(rows, sources, strict=True)]
        waiting = [(place, one) for place, one in enumerate(seen) if isinstance(one, _Waiting)]
        encoded = self._encoded([one.prompt for _, one in waiting])
        looks: list[Any] = seen
        for (place, one), ids in zip(waiting, encoded, strict=True):
            looks[place] = self._measured(one, ids)
        return looks

    def _seen(self, row: int, source: Mapping[str, Any]) -> Look | _Waiting:
        """The result of a row, or a `_Waiting` if it is to be encoded in a batch."""
        original = read(source)
        opened = [image.open() for image in pictures(original)]
        known = key(original, opened, str(source.get("answer") or ""))
        look = Look(known, layout=layout(original))
        if self.model is None:
            return look
        hidden = self.model.hidden_in(texts(original, source, self.prompts.variants.rewrites))
        look = look._replace(hidden=hidden)
        try:
            prompt = render(_with(self.prompts.longest(source), opened))
        except Exception as error:  # templates raise many types
            return look._replace(problem=_unencoded(error))
        waiting = _Waiting(row, look, prompt)
        return self._measured(waiting, None) if opened else waiting

    def _encoded(self, prompts: list[Any]) -> list[list[int] | None]:
        """Token ids of prompts; all None if the batch cannot be encoded."""
        if self.model is None or not prompts:
            return []
        try:
            return [*self.model.ids_of(prompts)]
        except Exception:  # `_measured` then encodes each row on its own to find the faulty one
            return [None] * len(prompts)

    def _measured(self, waiting: _Waiting, ids: list[int] | None) -> Look:
        """Add token counts to the result of a row, which is encoded here if `ids` is None."""
        row, look, prompt = waiting
        model = self.model
        if model is None:
            return look
        try:
            ids = model.ids(prompt) if ids is None else ids
            problem = placed(model, prompt, ids)
            if not problem and row % self.every == 0:
                problem = same_ids(model, prompt, ids)
        except Exception as error:  # templates and processors raise many types
            return look._replace(problem=_unencoded(error))
        image_id = model.image_id
        pieces = 0 if image_id is None else ids.count(image_id)
        return look._replace(tokens=len(ids), image_tokens=pieces, problem=problem)


class _Waiting(NamedTuple):
    """A row whose prompt is encoded in a batch."""

    row: int
    look: Look
    prompt: Any


def _unencoded(error: Exception) -> str:
    return f"cannot be encoded: {type(error).__name__}: {error}"


def texts(question: Question, source: Mapping[str, Any], rewrites_in: str | None) -> list[str]:
    """All texts of a row that may occur in a prompt, without image placeholders."""
    reworded = [with_text(question, text) for text in rewrites(source, rewrites_in)]
    return [text for wording in (question, *reworded) for text in words(wording)]


def _with(question: Question, opened: list[Image.Image]) -> Question:
    """Replace the image references of a question with opened images."""
    if not opened:
        return question
    pairs = zip(pictures(question), opened, strict=True)
    return with_pictures(question, [Picture(image, asked.steps) for asked, image in pairs])
