"""Evaluation of a saved model."""

from __future__ import annotations

from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.errors import ConfigError
from vantage.evaluation.answers import answer, right_answers
from vantage.evaluation.passk import Estimate, pass_at_k
from vantage.questions.prompts import Prompts, check
from vantage.questions.reading import Reader
from vantage.rewards import accuracy


def evaluate(
    path: str,
    rows: Dataset,
    *,
    template: str,
    samples: int,
    system_prompt: str | None = None,
    **options,
) -> dict[str, Estimate]:
    """Accuracy, and pass@k for k = 2, 4, 8... up to the number of samples.

    Args:
        path: directory of a model, or its name on the hub.
        rows: with `prompt`, `answer` and, for pictures, `image` or `images`.
        template: text around every question, `{question}` standing for it.
        system_prompt: put before every conversation.
        samples: responses a row.
        options: of `vantage.evaluation.answers.answer`.

    Raises:
        ConfigError: the model cannot be loaded, or the template has no place for the question.
        InputError: rows that cannot be asked; names them.
    """
    if "{question}" not in template:
        raise ConfigError(f"template={template!r} has no {{question}} in it")
    check(Prompts(Reader(rows), template=template, system=system_prompt), "the data set", rows)
    try:
        model = AutoModelForImageTextToText.from_pretrained(path, dtype="auto", device_map="auto")
        processor = AutoProcessor.from_pretrained(path, padding_side="left")
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(f"model {path!r} cannot be loaded: {why}") from error
    texts = answer(
        model,
        processor,
        rows,
        template=template,
        system_prompt=system_prompt,
        samples=samples,
        **options,
    )
    right_Q = right_answers(texts, rows, accuracy)
    ks = [2**power for power in range(1, samples.bit_length()) if 2**power <= samples]
    results = {"accuracy": pass_at_k(right_Q, samples, 1)}
    return results | {f"pass@{k}": pass_at_k(right_Q, samples, k) for k in ks}
