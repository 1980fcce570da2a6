"""Render one example prompt per layout, with the rewards of its reference answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vantage.checking.answers import Reward, earned
from vantage.checking.parity import Model
from vantage.questions.prompts import Prompts
from vantage.questions.schema import Question, pictures, render

MOST = 6  # most frequent layouts shown


@dataclass(frozen=True)
class Example:
    """A row as the model sees it.

    Attributes:
        row: Row number.
        layout: See `layout`.
        rows: Number of rows with this layout.
        text: The prompt as the chat template renders it.
        sizes: (width, height) in pixels of the images passed to the processor.
        answer: The reference answer; None without one.
        earned: Value of each reward for the boxed reference answer, by name; None if it fails.
    """

    row: int
    layout: str
    rows: int
    text: str
    sizes: tuple[tuple[int, int], ...] = ()
    answer: str | None = None
    earned: Mapping[str, float | None] | None = None


def layout(question: Question) -> str:
    """Describe the roles of a question's turns and its number of images."""
    if question.earlier is None:
        return "plain text"
    turns = (*question.earlier, question.turn, *question.later)
    shown = len(pictures(question))
    count = {0: "no image", 1: "1 image"}.get(shown, "several images")
    return f"{', '.join(str(turn['role']) for turn in turns)}; {count}"


def examples(
    model: Model,
    prompts: Prompts,
    layouts: Sequence[str],
    layout_Q: np.ndarray,
    row_Q: np.ndarray,
    rewards: Mapping[str, Reward],
) -> list[Example]:
    """Render the first row of each layout.

    Args:
        model: The model without its weights.
        prompts: The rows, and how they become prompts.
        layouts: All layouts.
        layout_Q: Index of each row's layout.
        row_Q: Row numbers for the report.
        rewards: Reward functions by name.
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
    except Exception as error:  # templates raise many types; the check of the prompts reports it
        text = f"cannot be rendered: {error}"
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
    except (Exception, SystemExit):  # raised by custom rewards; the self-test reports it
        return None
