"""Evaluation of a saved model."""

from __future__ import annotations

from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.evaluation.answers import answer, right_answers
from vantage.evaluation.passk import Estimate, pass_at_k
from vantage.rewards import accuracy


def evaluate(path: str, rows: Dataset, *, samples: int, **options) -> dict[str, Estimate]:
    """Accuracy, and pass@k for k = 2, 4, 8... up to the number of samples.

    Args:
        path: directory of a model, or its name on the hub.
        rows: with `prompt`, `answer` and, for pictures, `image` or `images`.
        samples: responses a row.
        options: of `vantage.evaluation.answers.answer`.
    """
    model = AutoModelForImageTextToText.from_pretrained(path, dtype="auto", device_map=None)
    processor = AutoProcessor.from_pretrained(path, padding_side="left")
    texts = answer(model, processor, rows, samples=samples, **options)
    right_Q = right_answers(texts, rows, accuracy)
    ks = [2**power for power in range(1, samples.bit_length()) if 2**power <= samples]
    results = {"accuracy": pass_at_k(right_Q, samples, 1)}
    return results | {f"pass@{k}": pass_at_k(right_Q, samples, k) for k in ks}
