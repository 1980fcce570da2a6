"""Column names of published data set layouts."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import field_validator

from vantage.sections import Section


class Columns(Section):
    """The column for each role. Roles that are not set follow the layout.

    A name is that of a column or of a place inside one ("reward_model.ground_truth"). `image` and
    `images` hold one image per row or a list of images. `images` may name several columns, whose
    images are concatenated. `options` is one column of lists, or one column per option. `id` is a
    unique name of each row. None means that the data have no such column. `videos: null` ignores
    videos.
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
        """Read an empty text (from the command line) or an empty list as None."""
        return None if value == "" or value == [] else value

    @field_validator("videos")
    @classmethod
    def _left_out(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("videos are not supported; null ignores them")
        return value


# Candidate column names for each role. The first column that holds values is used.
EASYR1: dict[str, tuple[str, ...]] = {
    "question": ("problem",),
    "answer": ("answer",),
    "images": ("images",),
}
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "easyr1": EASYR1,
    "share-vl": EASYR1,  # `variants.rewrites` names its column of rewrites
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
WORDS = {  # words in names of columns that likely have the role
    "question": ("question", "problem", "prompt", "query", "ask", "instruct"),
    "answer": ("answer", "truth", "solution", "correct", "label", "result"),
}
# Columns of option numbers, used if no column has the answer itself.
INDICES = (
    *("correct_choice_idx", "correct_choice_index", "correct_answer_idx", "correct_answer_index"),
    *("correct_option_idx", "correct_option_index", "correct_idx", "correct_index", "answer_idx"),
    *("answer_index", "answer_id", "label_idx", "gt_idx", "gold_index"),
)
VIDEOS = re.compile(r"(?:video|clip|audio|sound)s?(?:_?(?:path|file|url|bytes)s?)?", re.I)


@dataclass(frozen=True)
class Layout:
    """Resolved roles of the columns of a data set.

    Attributes:
        columns: Column of each role.
        answered: Whether a final assistant turn is the reference answer.
        without_pictures, without_videos: Columns without a role, in which an image or a video is
            an error.
        pictures_left_out, videos_left_out: Whether the user says that no question needs them.
        counted_from: Number of the first option, if answers are option numbers.
        remarks: Notes for the user about the choice of columns.
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
    """Keep the user's columns that exist in another data set; its layout sets the others."""
    said = given.model_dump(exclude_unset=True)
    return Columns(
        **{
            kind: value
            for kind, value in said.items()
            if all(name.partition(".")[0] in names or name in names for name in named(value))
        }
    )


def named(*values: str | list[str] | None) -> list[str]:
    """Flatten values of `Columns` to a list of column names."""
    lists = (value if isinstance(value, list) else [value] for value in values)
    return [name for names in lists for name in names if name is not None]
