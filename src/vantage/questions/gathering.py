"""Column-wise results of checking rows, compact enough for a million rows."""

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

# Arrow type of text-only conversations, which are the most common.
PLAIN = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
KEYS = ["role", "content"]

# A conversation; None if it contains images as bytes or if the row is bad.
Prompt = list[dict[str, Any]] | None


@dataclass(frozen=True)
class Gathered:
    """Results of checking rows, see `Examined`; bad rows keep only their faults.

    Attributes:
        faults: Faults of all rows.
        prompts: Chunks of conversations; in Arrow if all are text-only.
        answers: Chunks of reference answers.
        options: Options of each row; None if no row has options.
        ids: Id of each row; None if no row has one.
        changed_Q, moved_Q: See `Examined`.
        inside_Q: Whether the conversation contains images as bytes.
        worded_Q: Whether the conversation contains `<image>` or a numbered placeholder.
        several_Q: See `Examined`.
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
        """All conversations in Arrow; None unless all are text-only."""
        parts = [part for part in self.prompts if isinstance(part, pa.Array)]
        return pa.chunked_array(parts, PLAIN) if len(parts) == len(self.prompts) else None

    def prompt_list(self) -> list[Prompt]:
        """All conversations as a list."""
        return [
            prompt
            for part in self.prompts
            for prompt in (part.to_pylist() if isinstance(part, pa.Array) else part)
        ]


def gather(examiner: Examiner, rows: int, words: str) -> Gathered:
    """Check all rows.

    Args:
        examiner: Checks a range of rows.
        rows: Number of rows.
        words: Label of the progress bar.

    Raises:
        InputError: See `vantage.questions.parallel.over_rows`.
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
    """Convert conversations to Arrow if all are text-only; else return them unchanged."""
    messages = (message for prompt in prompts for message in prompt or ())
    return pa.array(prompts, PLAIN) if all(map(_is_plain, messages)) else prompts


def _is_plain(message: Mapping[str, Any]) -> bool:
    return list(message) == KEYS and type(message["content"]) is type(message["role"]) is str


def _joined(parts: Sequence[tuple[int, list | None]], nothing: Any) -> list | None:
    """Concatenate the values of all parts, with `nothing` for missing ones; None if all miss."""
    if all(values is None for _, values in parts):
        return None
    return [
        one for rows, values in parts for one in ([nothing] * rows if values is None else values)
    ]
