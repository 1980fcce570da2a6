"""One finished prompt of each layout that the rows have, with what the rewards give its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vantage.checking.answers import Reward, earned
from vantage.checking.parity import Model
from vantage.questions.prompts import Prompts
from vantage.questions.schema import Question, pictures, render

MOST = 6  # layouts that are shown, those of most rows


@dataclass(frozen=True)
class Example:
    """A row as the model gets it.

    Attributes:
        row: its number.
        layout: what it has in common with others.
        rows: how many rows have this layout.
        text: the prompt as the chat template writes it.
        sizes: width and height of its pictures, as the processor gets them.
        answer: the reference; None without one.
        earned: what each reward gives the reference in a box, by name; None where it fails.
    """

    row: int
    layout: str
    rows: int
    text: str
    sizes: tuple[tuple[int, int], ...] = ()
    answer: str | None = None
    earned: Mapping[str, float | None] | None = None


def layout(question: Question) -> str:
    """What a question is made of, in words: its turns and its pictures."""
    if question.earlier is None:
        return "a text alone"
    turns = (*question.earlier, question.turn, *question.later)
    shown = len(pictures(question))
    count = {0: "no picture", 1: "1 picture"}.get(shown, "several pictures")
    return f"{', '.join(str(turn['role']) for turn in turns)}; {count}"


def examples(
    model: Model,
    prompts: Prompts,
    layouts: Sequence[str],
    layout_Q: np.ndarray,
    row_Q: np.ndarray,
    rewards: Mapping[str, Reward],
) -> list[Example]:
    """The first row of each layout.

    Args:
        model: what is known of the model.
        prompts: the rows, and what is put around them.
        layouts: that there are.
        layout_Q: which of them each row has.
        row_Q: what each row is called in the report.
        rewards: by name.
    """
    which, first, counts = np.unique(layout_Q, return_index=True, return_counts=True)
    usual = sorted(zip(-counts, first, which, strict=True))[:MOST]
    return [
        _example(model, prompts, int(place), int(row_Q[place]), layouts[name], -int(rows), rewards)
        for rows, place, name in usual
    ]


def _example(
    model: Model,
    prompts: Prompts,
    place: int,
    number: int,
    name: str,
    rows: int,
    rewards: Mapping[str, Reward],
) -> Example:
    source = prompts.rows[place]
    question = prompts.original(source)
    try:
        text = model.text(render(question))
    except Exception as error:  # whatever a template raises, which is told as a problem of the row
        text = f"cannot be written: {error}"
    sizes = tuple(image.open().size for image in pictures(question))
    answer = source.get("answer")
    if answer is None:
        return Example(number, name, rows, text, sizes)
    columns = {column: [value] for column, value in prompts.rows.unread(source).items()}
    given = {called: _given(reward, columns, str(answer)) for called, reward in rewards.items()}
    return Example(number, name, rows, text, sizes, str(answer), given)


def _given(reward: Reward, columns: Mapping[str, list[Any]], answer: str) -> float | None:
    try:
        return earned(reward, columns, [f"\\boxed{{{answer}}}"])[0]
    except (
        Exception,
        SystemExit,
    ):  # of the user's code, which the self-test tells
        return None
