"""Questions of a run in the report: numbers of all questions, rollouts of as many as fit."""

from __future__ import annotations

import base64
import functools
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from vantage.record.bounds import LONGEST_SIDE, digest, shortened
from vantage.record.reading import Record
from vantage.report.curves import mean_by, numbers, right

ASKINGS = 8  # askings of a question shown in full
CHARACTERS = 4_000  # maximum length of a text
LABEL = 160  # maximum length of a question in the table, in characters
SIDE = 320  # maximum side of an image, in pixels
TABLES = 400  # steps whose tables are cached

Reader = Callable[[int], dict[str, pa.Table]]


@dataclass
class PageBudget:
    """The budget of the page for details.

    Attributes:
        texts, pictures: Remaining bytes of texts and of images.
        shown: Images on the page by name, as data URLs.
    """

    texts: int = 7_000_000
    pictures: int = 6_000_000
    shown: dict[str, str] = field(default_factory=dict)

    def share(self, runs: int) -> PageBudget:
        """Return the budget of each of `runs` runs; all add their images to one `shown`."""
        return PageBudget(self.texts // runs, self.pictures // runs, self.shown)


def questions(record: Record, rollouts: pa.Table) -> dict[str, list]:
    """Return the columns of the table of questions, with values for each asking of a question.

    An asking is one question in one rollout batch; A counts askings of all questions.

    Args:
        record: The record of the run.
        rollouts: Its table of all rollouts, without texts.
    """
    column = {name: rollouts[name].to_numpy() for name in ("batch", "row", "question", "trained")}
    # The place is part of the key because a batch can ask the same row twice.
    keys = np.stack([column["row"], column["batch"], column["question"]])
    (row_A, batch_A, _), asking_N = np.unique(keys, axis=1, return_inverse=True)
    asking_N = asking_N.reshape(-1)
    success_A = mean_by(asking_N, right(rollouts), len(row_A))
    reward_N = rollouts["reward"].to_numpy()
    mean_A = mean_by(asking_N, reward_N, len(row_A))
    square_A = mean_by(asking_N, (reward_N - mean_A[asking_N]) ** 2, len(row_A))
    trained_A = np.bincount(asking_N, column["trained"], minlength=len(row_A))
    # Keys are sorted by question, then batch, so the askings of a question are contiguous.
    rows, first = np.unique(row_A, return_index=True)
    cut = [*first[1:]]

    def each(values, as_numbers=True) -> list[list]:
        parts = np.split(values, cut)
        return [numbers(p) if as_numbers else p.astype(int).tolist() for p in parts]

    labels = _labels(record)
    return {
        "row": rows.tolist(),
        "text": [labels.get(row, "") for row in rows.tolist()],
        "batch": each(batch_A, False),
        "success": each(success_A),
        "contrast": each(np.sqrt(square_A)),
        "trained": each(trained_A, False),
    }


def details(record: Record, room: PageBudget) -> dict[str, list]:
    """Return the details of as many questions as the room allows.

    Questions are taken in the order of the digests of their rows, as in the record. Each has up to
    `ASKINGS` askings: the first, the last, and others evenly spaced between them.

    Returns:
        A mapping from the row of a question, as a string, to its askings in order of time.
    """
    kept = _kept(record)
    read = functools.lru_cache(maxsize=TABLES)(record.whole)
    picture = functools.partial(_shown, record, room)
    shown: dict[str, list] = {}
    left = room.texts
    for row in sorted(kept, key=digest):
        batches = kept[row]
        places = np.linspace(0, len(batches) - 1, min(ASKINGS, len(batches))).round().astype(int)
        found = [_asking(read, batches[place], row, picture) for place in dict.fromkeys(places)]
        left -= len(json.dumps(found))
        if left < 0:
            break
        shown[str(row)] = found
    return shown


def _kept(record: Record) -> dict[int, list[int]]:
    """Return the questions whose texts are in the record, with their batches."""
    prompts = record.table("prompts", ["batch", "row", "text"])
    there = prompts["text"].is_valid().to_numpy()
    batch_V, question_V = (prompts[name].to_numpy()[there] for name in ("batch", "row"))
    kept: dict[int, list[int]] = {}
    for question, batch in sorted(set(zip(question_V.tolist(), batch_V.tolist(), strict=True))):
        kept.setdefault(question, []).append(batch)
    return kept


def _labels(record: Record) -> dict[int, str]:
    prompts = record.table("prompts", ["row", "variant", "text"])
    prompts = prompts.filter(prompts["text"].is_valid())
    first: dict[int, str] = {}
    for row in prompts.filter(pa.array(prompts["variant"].to_numpy() == 0)).to_pylist():
        first.setdefault(row["row"], row["text"][:LABEL])
    return first


def _asking(read: Reader, batch: int, row: int, shown: Callable) -> dict[str, Any]:
    """Return one asking of a question: its prompts, rollouts and samples.

    Rollouts and samples refer to prompts and rollouts by their position in these lists.
    """
    found = read(batch)
    prompts = _where(found["prompts"], "row", [row])
    rollouts = _where(found["rollouts"], "row", [row])
    number_of = {one["rollout"]: number for number, one in enumerate(rollouts)}
    prompt_of = {one["prompt"]: number for number, one in enumerate(prompts)}
    samples = _where(found["samples"], "rollout", list(number_of))
    return {
        "batch": batch + 1,
        "parts": [part.name for part in found["rollouts"].schema.field("parts").type],
        "prompts": [_prompt(one, shown) for one in prompts],
        "rollouts": [
            {
                "prompt": prompt_of[one["prompt"]],
                "numbers": numbers([one["reward"], one["advantage"], one["log_prob"]]),
                "parts": numbers([np.nan if v is None else v for v in one["parts"].values()]),
                "counts": [one["trained"], one["tokens"]],
                "text": _short(one["response"] or ""),
            }
            for one in rollouts
        ],
        # rollout, prompt, advantage, pair, update
        "samples": [
            [
                number_of[one["rollout"]],
                prompt_of.get(one["prompt"], -1),
                *numbers([one["advantage"]]),
                one["pair"],
                one["update"],
            ]
            for one in samples
            if not one["padding"]
        ],
    }


def _short(text: str) -> str:
    return shortened(text, CHARACTERS, "on this page")


def _where(table: pa.Table, column: str, values: list[int]) -> list[dict[str, Any]]:
    return table.filter(pa.array(np.isin(table[column].to_numpy(), values))).to_pylist()


def _prompt(prompt: dict[str, Any], shown: Callable) -> dict[str, Any]:
    def told(turns: str) -> list[list[str]]:
        return [[turn["role"], _short(turn["text"])] for turn in prompt.get(turns) or []]

    return {
        "variant": prompt["variant"],
        "text": _short(prompt["text"] or ""),
        "earlier": told("earlier"),
        "later": told("later"),
        "pictures": [[shown(one["picture"]), one["changes"]] for one in prompt["pictures"] or []],
    }


def _shown(record: Record, room: PageBudget, name: str | None) -> str | None:
    """Add an image to the page and return its name; None if it is missing or does not fit."""
    if name is None or name in room.shown:
        return name
    stored = record.picture(name)
    data = stored and _encoded(stored)
    if not data or len(data) > room.pictures:
        return None
    room.pictures -= len(data)
    room.shown[name] = data
    return name


def _encoded(stored: bytes) -> str | None:
    """Decode a stored image and encode a small version as a data URL; None if it is damaged."""
    try:
        opened = Image.open(io.BytesIO(stored), formats=["WEBP"])
        if opened.width * opened.height > LONGEST_SIDE**2:
            return None  # the recorder writes no image that large
        image = opened.convert("RGB")
    except Exception:  # decoders raise many types on modified files
        return None
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "webp", lossless=max(image.size) <= 128, quality=75)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
