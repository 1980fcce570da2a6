"""Which columns hold what, in the layouts that data sets are published in."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import field_validator

from vantage.sections import Section


class Columns(Section):
    """Which columns hold what; those that are left out follow the layout.

    A name is that of a column, or of a place inside one ("reward_model.ground_truth"). `image`
    and `images` hold one picture a row or a list of them; `images` may name several columns,
    whose pictures follow each other. `options` is a column of lists, or a column for each option.
    `id` names rows, each once. None for what there is not; `videos: null` leaves videos out.
    """

    question: str | None = None
    answer: str | None = None
    image: str | None = None
    images: str | list[str] | None = None
    options: str | list[str] | None = None
    videos: str | None = None
    id: str | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _none_of_nothing(cls, value: Any) -> Any:
        """An empty text, as a command line has it, and an empty list are no column."""
        return None if value == "" or value == [] else value

    @field_validator("videos")
    @classmethod
    def _left_out(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("videos are not read; null leaves them out")
        return value


# Of each kind of column the names it may have, the first one that holds something counts.
EASYR1: dict[str, tuple[str, ...]] = {
    "question": ("problem",),
    "answer": ("answer",),
    "images": ("images",),
}
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "easyr1": EASYR1,
    "share-vl": EASYR1,  # and other wordings, which `variants.rewrites` names
    "mmk12": {"question": ("question",), "answer": ("answer",), "image": ("image",)},
    "trl": {
        "question": ("prompt",),
        "answer": ("answer", "solution"),
        "image": ("image",),
        "images": ("images",),
    },
    "image-folder": {
        "question": ("question", "problem", "prompt", "text"),
        "answer": ("answer", "solution", "label"),
        "image": ("file_name",),
    },
}
QUESTIONS = (
    *("prompt", "problem", "question", "query", "messages", "conversations", "conversation"),
    *("message", "dialog", "texts", "instruction", "text", "input"),
)
ANSWERS = (
    *("answer", "final_answer", "ground_truth", "reward_model.ground_truth", "solution", "label"),
    *("correct_answer", "gt_answer", "gt", "gold", "gold_answer", "reference_answer", "ref_answer"),
    *("expected_answer", "standard_answer", "target", "answerKey", "answer_key", "correct_option"),
    *("correct_choice", "multiple_choice_answer", "short_answer", "response", "output"),
    *("completion", "answers"),
)
WORDS = {  # in the name of a column that may be one
    "question": ("question", "problem", "prompt", "query", "ask", "instruct"),
    "answer": ("answer", "truth", "solution", "correct", "label", "result"),
}
# Numbers of options, where no column has the answer itself.
INDICES = (
    *("correct_choice_idx", "correct_choice_index", "correct_answer_idx", "correct_answer_index"),
    *("correct_option_idx", "correct_option_index", "correct_idx", "correct_index", "answer_idx"),
    *("answer_index", "answer_id", "label_idx", "gt_idx", "gold_index"),
)
VIDEOS = re.compile(r"(?:video|clip|audio|sound)s?(?:_?(?:path|file|url|bytes)s?)?", re.I)


@dataclass(frozen=True)
class Layout:
    """What the columns of a data set are for.

    Attributes:
        columns: all by name.
        answered: whether a last turn of the assistant is the answer.
        without_pictures, without_videos: columns for nothing, in which no row may have one.
        pictures_left_out, videos_left_out: whether the user says that no question needs them.
        counted_from: number of the first option, where answers are numbers of options.
        remarks: what a user may want to know about the choice.
    """

    columns: Columns
    answered: bool = False
    without_pictures: tuple[str, ...] = ()
    without_videos: tuple[str, ...] = ()
    videos_left_out: bool = False
    pictures_left_out: bool = False
    counted_from: int | None = None
    remarks: tuple[str, ...] = ()


def those_there(given: Columns, names: Collection[str]) -> Columns:
    """What of the user's names is there in other data; their layout says the rest."""
    said = given.model_dump(exclude_unset=True)
    return Columns(
        **{
            kind: value
            for kind, value in said.items()
            if all(name.partition(".")[0] in names or name in names for name in named(value))
        }
    )


def named(*values: str | list[str] | None) -> list[str]:
    """Every column that some values of `Columns` name, one by one."""
    lists = (value if isinstance(value, list) else [value] for value in values)
    return [name for names in lists for name in names if name is not None]
