"""Validation on TRL: its sampling temperature, and means over samples.

TRL samples as in training, and logs means over batches, although the last batch may be smaller, or
padded so that all processes have the same number of rows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.trainer_utils import has_length

from vantage.questions.schema import render
from vantage.training.planning import totals
from vantage.training.trl.encoder import Encoder
from vantage.training.trl.turn import Turn, in_one_form


def sampling_options(owner: Any, temperature: float | None) -> dict[str, Any]:
    """Attributes of a sampler that set its temperature.

    Args:
        owner: TRL's `VLLMGeneration`, or the trainer without vLLM.
        temperature: Temperature; 0 decodes greedily, and None changes nothing.

    Returns:
        Attribute -> value.
    """
    if temperature is None:
        return {}
    options = owner.generation_kwargs
    if not hasattr(owner, "generation_config"):
        kept = {name: value for name, value in options.items() if name != "temperature"}
        return {"temperature": temperature, "generation_kwargs": kept}
    changes = {"do_sample": temperature > 0, "temperature": temperature or 1.0}
    config = copy.deepcopy(owner.generation_config)
    for name, value in changes.items():
        setattr(config, name, value)
    return {"generation_config": config, "generation_kwargs": {**options, **changes}}


def by_sample(part_NF: torch.Tensor, rewards: Mapping[str, float]) -> dict[str, list[float]]:
    """The metrics that TRL logs of a validation batch, as values per sample.

    Args:
        part_NF: Rewards by function, NaN for none, shape (N, F).
        rewards: Weights of the functions by name.
    """
    parts = part_NF.double().cpu().numpy()
    value_N = dict(zip(map("rewards/{}/mean".format, rewards), parts.T, strict=True))
    value_N["reward"] = totals(parts, list(rewards.values()))
    return {name: values.tolist() for name, values in value_N.items()}


def log_by_sample(
    metrics: dict[str, list[float]], before: Mapping[str, int], value_N: Mapping[str, list[float]]
) -> None:
    """Replace the mean that TRL logged for a validation batch by one value per sample.

    Args:
        metrics: Metrics of the validation, changed in place.
        before: Metric -> number of values before the batch.
        value_N: Metric -> values per sample. Other metrics repeat their mean.
    """
    samples = len(next(iter(value_N.values())))
    for name, values in metrics.items():
        if len(values) > before.get(name, 0):
            values[-1:] = value_N.get(name, [values[-1]] * samples)


def samples_of(rows: int, data: Any, batch: int, samples: int, *, is_last: bool) -> int:
    """Number of rows of a batch without the padding at its end.

    The length of a stream is unknown, so its padding is included.

    Args:
        rows: Number of rows of the batch.
        data: The validation set.
        batch: Rows of a full batch over all processes.
        samples: Samples per question.
        is_last: Whether this is the last batch.
    """
    if not is_last or not has_length(data):
        return rows
    return len(data) * samples % batch or rows


def turn_of(
    rows: Sequence[Mapping[str, Any]],
    encoder: Encoder,
    samples: int,
    rewards: Sequence[str],
) -> Turn:
    """Build the turn of a validation batch, with the original prompt of each row.

    Args:
        rows: Data rows; the samples of a question are adjacent.
        encoder: Encodes the prompts, once per question.
        samples: Samples per question.
        rewards: Names of the reward functions.
    """
    asked = [{**row, "prompt": render(encoder.prompts.original(row))} for row in rows]
    examples = in_one_form(asked)
    each = samples if len(examples) % samples == 0 else 1
    made = [encoder.encode(example["prompt"]) for example in examples[::each]]
    encodings = [encoding for encoding in made for _ in range(each)]
    return Turn(examples, encodings, torch.randint(2**62, (len(encodings), 1)).tolist(), rewards)
