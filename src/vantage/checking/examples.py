"""One rendered prompt of each layout of the rows, with the rewards of its reference answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vantage.checking.answers import Reward, earned
from vantage.checking.parity import Model
from vantage.questions.prompts import Prompts
from vantage.questions.schema import Question, pictures, render

MOST = 6  # layouts, the most frequent first


@dataclass(frozen=True)
class Example:
    """A row as the model sees it.

    Attributes:
        row: its number.
        layout: see `layout`.
        rows: number of rows with this layout.
        text: the prompt as the chat template renders it.
        sizes: width and height of the pictures that the processor gets.
        answer: the reference answer; None without one.
        earned: name of each reward -> its value for the boxed reference answer; None if it fails.
    """

    row: int
    layout: str
    rows: int
    text: str
    sizes: tuple[tuple[int, int], ...] = ()
    answer: str | None = None
    earned: Mapping[str, float | None] | None = None


def layout(question: Question) -> str:
    """The parts of a question, in words: its turns and its pictures."""
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
        model: the model without its weights.
        prompts: the rows, and how they are asked.
        layouts: all layouts.
        layout_Q: index of each row's layout.
        row_Q: numbers of the rows, for the report.
        rewards: reward functions by name.
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
    except Exception as error:  # of a template; the check of the prompts reports it too
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
    except (Exception, SystemExit):  # of the user's code; the self-test reports it
        return None
