"""A look at one row that can be trained: its tokens, its keys, and what hides in its text."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image

from vantage.checking.examples import layout
from vantage.checking.leakage import Key, key
from vantage.checking.parity import Model, placed, same_ids
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
    """What is kept of a row.

    Attributes:
        key: what it is compared by.
        tokens, image_tokens: of its longest prompt; 0 where the processor failed.
        hidden: special tokens of the model that are written in its text.
        problem: why the processor cannot take it, or takes it in two ways; empty if neither.
        layout: what it is made of, see `vantage.checking.examples.layout`.
    """

    key: Key
    tokens: int = 0
    image_tokens: int = 0
    hidden: tuple[str, ...] = ()
    problem: str = ""
    layout: str = ""


@dataclass(frozen=True)
class Looker:
    """Looks at a row by its number; every picture is decoded once.

    Attributes:
        prompts: the rows, and what is put around them.
        model: what is known of the model; None to make keys alone.
        every: of so many rows, one is also encoded from its text.
    """

    prompts: Prompts
    model: Model | None = None
    every: int = 1

    def __call__(self, row: int) -> Look:
        """What is kept of the row."""
        if multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # one process a core is enough
        source = self.prompts.rows[row]
        original = read(source)
        opened = [image.open() for image in pictures(original)]
        known = key(original, opened, str(source.get("answer") or ""))
        made_of = layout(original)
        if self.model is None:
            return Look(known, layout=made_of)
        hidden = self.model.hidden_in(texts(original, source, self.prompts.variants.rewrites))
        try:
            prompt = render(_with(self.prompts.longest(source), opened))
            ids = self.model.ids(prompt)
            problem = placed(self.model, prompt, ids)
            if not problem and row % self.every == 0:
                problem = same_ids(self.model, prompt, ids)
        except Exception as error:  # whatever a template or a processor raises
            why = f"cannot be encoded: {type(error).__name__}: {error}"
            return Look(known, hidden=hidden, problem=why, layout=made_of)
        image_id = self.model.image_id
        pieces = 0 if image_id is None else ids.count(image_id)
        return Look(known, len(ids), pieces, hidden, problem, made_of)


def texts(question: Question, source: Mapping[str, Any], rewrites_in: str | None) -> list[str]:
    """Every text that the row may put in a prompt, the places of its pictures left out."""
    reworded = [with_text(question, text) for text in rewrites(source, rewrites_in)]
    return [text for wording in (question, *reworded) for text in words(wording)]


def _with(question: Question, opened: list[Image.Image]) -> Question:
    """The question on pictures that were opened already."""
    pairs = zip(pictures(question), opened, strict=True)
    return with_pictures(question, [Picture(image, asked.steps) for asked, image in pairs])
