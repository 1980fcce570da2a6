"""Render one example prompt per layout, with the rewards of its reference answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vantage.checking.answers import Reward, earned
from vantage.checking.inspecting import Looks
from vantage.checking.parity import Model
from vantage.questions.prompts import Prompts
from vantage.questions.schema import pictures, render

MOST = 6  # most frequent layouts shown


@dataclass(frozen=True)
class Example:
    """A row as the model sees it.

    Attributes:
        row: Row number.
        layout: See `vantage.checking.inspecting.layout`.
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


def examples(
    model: Model, prompts: Prompts, looks: Looks, rewards: Mapping[str, Reward]
) -> list[Example]:
    """Render the first row of each layout.

    Args:
        model: The model without its weights.
        prompts: The rows, and how they become prompts.
        looks: Results of the inspection of the rows.
        rewards: Reward functions by name.
    """
    _, first, counts = np.unique(looks.layout_Q, return_index=True, return_counts=True)
    usual = sorted(zip((-counts).tolist(), first.tolist(), strict=True))[:MOST]
    return [_example(model, prompts, looks, rewards, place, -rows) for rows, place in usual]


def _example(
    model: Model,
    prompts: Prompts,
    looks: Looks,
    rewards: Mapping[str, Reward],
    place: int,
    rows: int,
) -> Example:
    source = prompts.rows[place]
    question = prompts.original(source)
    try:
        text = model.text(render(question))
    except Exception as error:  # templates raise many types; the check of the prompts reports it
        text = f"cannot be rendered: {error}"
    sizes = tuple(image.open().size for image in pictures(question))
    example = Example(int(looks.row_Q[place]), looks.layout(place), rows, text, sizes)
    answer = source.get("answer")
    if answer is None:
        return example
    columns = {column: [value] for column, value in prompts.rows.unread(source).items()}
    given = {name: _given(reward, columns, str(answer)) for name, reward in rewards.items()}
    return replace(example, answer=str(answer), earned=given)


def _given(reward: Reward, columns: Mapping[str, list[Any]], answer: str) -> float | None:
    try:
        return earned(reward, columns, [f"\\boxed{{{answer}}}"])[0]
    except (Exception, SystemExit):  # raised by custom rewards; the self-test reports it
        return None
