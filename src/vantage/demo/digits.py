"""Handwritten-digit arithmetic on the 1,797 real digits that scikit-learn ships.

A question shows k digits side by side on a square canvas and asks for their sum, in one of
several wordings. The images are split by blocks of scikit-learn's original order, in which the
sheets of the writers follow one another; every split begins where a writer's sheet begins, so
no image and no sheet is in two splits.
"""

from __future__ import annotations

from functools import cache
from math import perm

import numpy as np
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures
from sklearn.datasets import load_digits

from vantage.errors import InputError
from vantage.rewriting.wordings import SUM_OF_DIGITS

SPLITS = {
    "cold_start": range(0, 130),
    "reinforcement": range(130, 1157),
    "validation": range(1157, 1287),
    "test": range(1287, 1797),
}

WORDINGS = SUM_OF_DIGITS

CELL = 14  # pixels on a side of the square that one digit fills


def questions(split: str, *, n: int, k: int = 2, seed: int = 0) -> Dataset:
    """n distinct questions on k digit images each, drawn inside a split of SPLITS.

    Columns: question (a wording), image (RGB, 14k × 14k pixels), answer, new_questions (the
    other wordings), digits (rows of scikit-learn's array, in reading order), and for the cold
    start solution, the annotated response. Digit images are used equally often, up to one.
    """
    if split not in SPLITS:
        raise InputError(f"no split {split!r}: the splits are {', '.join(SPLITS)}")
    rng = np.random.default_rng([seed, list(SPLITS).index(split)])
    rows_QK = _tuples(SPLITS[split], n, k, rng)
    labels_QK = _digits().target[rows_QK]
    wordings = [WORDINGS[w] for w in rng.integers(len(WORDINGS), size=n)]
    columns = {
        "question": wordings,
        "image": [picture(rows_K) for rows_K in rows_QK],
        "answer": [str(total) for total in labels_QK.sum(1)],
        "new_questions": [rewordings(wording) for wording in wordings],
        "digits": rows_QK.tolist(),
    }
    features = {
        "question": Value("string"),
        "image": Image(),
        "answer": Value("string"),
        "new_questions": List(Value("string")),
        "digits": List(Value("int64")),
    }
    if split == "cold_start":
        columns["solution"] = [solution(labels_K) for labels_K in labels_QK]
        features["solution"] = Value("string")
    return Dataset.from_dict(columns, features=Features(features))


def rewordings(question: str) -> list[str]:
    """The other wordings of a question: same meaning, same answer."""
    if question not in WORDINGS:
        raise InputError(
            f"no wordings are known for {question!r}, which is none of the demo's questions"
        )
    return [wording for wording in WORDINGS if wording != question]


def solution(labels_K: np.ndarray) -> str:
    """The annotated response: [3, 8] gives <think>3 + 8</think>\\boxed{11}."""
    thought = " + ".join(str(label) for label in labels_K)
    return f"<think>{thought}</think>\\boxed{{{sum(labels_K)}}}"


def picture(rows_K: np.ndarray) -> Pictures.Image:
    """Digits by row of scikit-learn's array, side by side on a square black RGB canvas.

    They stand in its middle row (the upper of two), so that the canvas, 14k pixels on a side,
    keeps its size when it is turned by 90 degrees.
    """
    k = len(rows_K)
    canvas = Pictures.new("L", (CELL * k, CELL * k))
    for column, row in enumerate(rows_K):
        canvas.paste(_cell(row), (CELL * column, CELL * ((k - 1) // 2)))
    return canvas.convert("RGB")


@cache
def _digits():
    return load_digits()


def _cell(row: int) -> Pictures.Image:
    """One digit: scikit-learn's 8 × 8 pixels of 0 to 16, as grey levels on CELL × CELL pixels."""
    grey_HW = np.round(_digits().images[row] * (255 / 16)).astype(np.uint8)
    return Pictures.fromarray(grey_HW).resize((CELL, CELL), Pictures.Resampling.BICUBIC)


def _tuples(rows: range, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """n distinct k-tuples of different rows, dealt from shuffles of all rows: int64 [n, k]."""
    if not 1 <= k <= len(rows):
        raise InputError(
            f"k = {k} digits an image: a split of {len(rows)} images allows 1 to {len(rows)}"
        )
    if not 1 <= n <= perm(len(rows), k):
        raise InputError(
            f"n = {n} questions: {len(rows)} images, {k} at a time, allow {perm(len(rows), k)}"
        )
    found: dict[tuple[int, ...], None] = {}
    while len(found) < n:
        deck = rng.permutation(rows)[: len(rows) // k * k]
        found.update(dict.fromkeys(map(tuple, deck.reshape(-1, k).tolist())))
    return np.array(list(found)[:n])
