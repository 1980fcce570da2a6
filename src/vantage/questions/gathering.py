"""What was seen of rows, column by column: a million of them take little memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vantage.questions.examining import Examined, Examiner
from vantage.questions.faults import Fault
from vantage.questions.parallel import over_parts
from vantage.questions.picture_placement import NUMBERED
from vantage.questions.schema import IMAGE

# Conversations of texts alone, which most are.
PLAIN = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
KEYS = ["role", "content"]

# A conversation, None where it holds pictures as bytes or a row cannot be used.
Prompt = list[dict[str, Any]] | None


@dataclass(frozen=True)
class Gathered:
    """What is kept of rows that were looked at, see `Examined`; nothing of rows with faults.

    Attributes:
        faults: of all rows.
        prompts: parts of a column, in Arrow those of texts alone.
        answers: parts of a column.
        options: of each row; None where no row has some.
        ids: of each row; None where no row has one.
        changed_Q, moved_Q: as of `Examined`.
        inside_Q: whether the conversation holds pictures as bytes.
        worded_Q: whether it writes `<image>` or a place with a number.
        several_Q: as of `Examined`.
    """

    faults: list[Fault]
    prompts: list[pa.Array | list[Prompt]]
    answers: list[pa.Array]
    options: list[tuple[str, ...]] | None
    ids: list[Any] | None
    changed_Q: np.ndarray
    moved_Q: np.ndarray
    inside_Q: np.ndarray
    worded_Q: np.ndarray
    several_Q: np.ndarray

    @property
    def plain_prompts(self) -> pa.ChunkedArray | None:
        """All conversations where all are of texts alone."""
        parts = [part for part in self.prompts if isinstance(part, pa.Array)]
        return pa.chunked_array(parts, PLAIN) if len(parts) == len(self.prompts) else None

    def prompt_list(self) -> list[Prompt]:
        """The conversations one by one."""
        return [
            prompt
            for part in self.prompts
            for prompt in (part.to_pylist() if isinstance(part, pa.Array) else part)
        ]


def gather(examiner: Examiner, rows: int, words: str) -> Gathered:
    """Every row looked at.

    Args:
        examiner: looks at a part of them.
        rows: how many there are.
        words: of the progress bar.

    Raises:
        InputError: as `vantage.questions.parallel.over_rows`.
    """
    parts = over_parts(lambda part: _compact(list(examiner.part(part))), rows, words)
    return Gathered(
        [fault for part in parts for fault in part.faults],
        [prompts for part in parts for prompts in part.prompts],
        [answers for part in parts for answers in part.answers],
        _joined([(len(part.changed_Q), part.options) for part in parts], ()),
        _joined([(len(part.changed_Q), part.ids) for part in parts], None),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("changed_Q", "moved_Q", "inside_Q", "worded_Q", "several_Q")
        ),
    )


def _compact(seen: Sequence[Examined]) -> Gathered:
    good = [not one.faults for one in seen]
    prompts = [one.prompt if fine else None for one, fine in zip(seen, good, strict=True)]
    answers = [one.answer if fine else None for one, fine in zip(seen, good, strict=True)]
    options, ids = [one.options for one in seen], [one.id for one in seen]
    inside = [fine and prompt is None for fine, prompt in zip(good, prompts, strict=True)]
    return Gathered(
        [fault for one in seen for fault in one.faults],
        [_in_arrow(prompts)],
        [pa.array(answers, pa.string())],
        options if any(options) else None,
        ids if any(one is not None for one in ids) else None,
        np.array([one.changed for one in seen]),
        np.array([one.moved for one in seen]),
        np.array(inside),
        np.array([prompt is not None and _has_place(str(prompt)) for prompt in prompts]),
        np.array([one.several for one in seen]),
    )


def _has_place(text: str) -> bool:
    return IMAGE in text or bool(NUMBERED.search(text))


def _in_arrow(prompts: list[Prompt]) -> pa.Array | list[Prompt]:
    """Conversations of texts alone in Arrow; any others as they are."""
    messages = (message for prompt in prompts for message in prompt or ())
    return pa.array(prompts, PLAIN) if all(map(_is_plain, messages)) else prompts


def _is_plain(message: Mapping[str, Any]) -> bool:
    return list(message) == KEYS and type(message["content"]) is type(message["role"]) is str


def _joined(parts: Sequence[tuple[int, list | None]], nothing: Any) -> list | None:
    """Values of all parts, nothing for the rows of those that have none; None if none has."""
    if all(values is None for _, values in parts):
        return None
    return [
        one for rows, values in parts for one in ([nothing] * rows if values is None else values)
    ]
