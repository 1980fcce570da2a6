"""Handwritten-digit arithmetic on the 1,797 real digits that scikit-learn ships.

A question shows k digits side by side on a square canvas and asks for their sum, in one of
several wordings. scikit-learn lists the digits sheet by sheet, one sheet per writer. Every split
starts at the first digit of a sheet, so no image and no sheet is in two splits.
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

CELL = 14  # side of the square around a digit, in pixels


def questions(split: str, *, n: int, k: int = 2, seed: int = 0) -> Dataset:
    """Sample n distinct questions on k digit images each, from one split.

    All digit images of the split are used about equally often.

    Args:
        split: Name in `SPLITS`.
        n: Number of questions.
        k: Digits per image.
        seed: Seed of the draws.

    Returns:
        A data set with the columns question (a wording), image (RGB, 14k × 14k pixels), answer,
        new_questions (the other wordings) and digits (rows of scikit-learn's array, in reading
        order). The cold-start split also has the column solution (the annotated response).

    Raises:
        InputError: If the split is unknown, or has too few images for n or k.
    """
    if split not in SPLITS:
        raise InputError(f"no split {split!r}: expected one of {', '.join(SPLITS)}")
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
    """Return the other wordings of a question, which have the same answer.

    Raises:
        InputError: If the question is not from the demo.
    """
    if question not in WORDINGS:
        raise InputError(f"no wordings are known for {question!r}: expected a question of the demo")
    return [wording for wording in WORDINGS if wording != question]


def solution(labels_K: np.ndarray) -> str:
    """Write the annotated response: [3, 8] gives <think>3 + 8</think>\\boxed{11}."""
    thought = " + ".join(str(label) for label in labels_K)
    return f"<think>{thought}</think>\\boxed{{{sum(labels_K)}}}"


def picture(rows_K: np.ndarray) -> Pictures.Image:
    """Draw digits side by side in the middle row of a square black RGB canvas.

    The canvas is square so that it keeps its size when it is rotated by 90 degrees. For an even k,
    the upper of the two middle rows is used.

    Args:
        rows_K: Rows of the digits in scikit-learn's array.

    Returns:
        An image of 14k × 14k pixels.
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
    """Scale a digit of scikit-learn, 8 × 8 values from 0 to 16, to CELL × CELL grey levels."""
    grey_HW = np.round(_digits().images[row] * (255 / 16)).astype(np.uint8)
    return Pictures.fromarray(grey_HW).resize((CELL, CELL), Pictures.Resampling.BICUBIC)


def _tuples(rows: range, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Deal n distinct k-tuples of different rows from shuffles of all rows: int64 [n, k]."""
    if not 1 <= k <= len(rows):
        raise InputError(
            f"k = {k} digits per image: a split of {len(rows)} images allows 1 to {len(rows)}"
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
