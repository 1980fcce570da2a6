"""A validation on TRL: how it samples, and means in which every sample counts once.

TRL samples as in training, and logs the mean over the batches of a validation. Its last batch is
smaller, or is filled up so that all processes have as many rows.
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
    """Attributes with which a sampler samples at a temperature.

    Args:
        owner: TRL's `VLLMGeneration`, or its trainer where `generate` samples.
        temperature: 0 takes the likeliest tokens; None changes nothing.
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
    """What TRL logs of a batch of a validation, one value a sample.

    Args:
        part_NF: reward of each sample, by function; NaN without one.
        rewards: weights of the functions by name.
    """
    parts = part_NF.double().cpu().numpy()
    value_N = dict(zip(map("rewards/{}/mean".format, rewards), parts.T, strict=True))
    value_N["reward"] = totals(parts, list(rewards.values()))
    return {name: values.tolist() for name, values in value_N.items()}


def log_by_sample(
    metrics: dict[str, list[float]], before: Mapping[str, int], value_N: Mapping[str, list[float]]
) -> None:
    """Let what TRL logged of a batch of a validation, a mean over its rows, count once a sample.

    Args:
        metrics: of the validation.
        before: metric -> values that it had before the batch.
        value_N: metric -> its value for each sample, where it has one.
    """
    samples = len(next(iter(value_N.values())))
    for name, values in metrics.items():
        if len(values) > before.get(name, 0):
            values[-1:] = value_N.get(name, [values[-1]] * samples)


def samples_of(rows: int, data: Any, batch: int, samples: int, *, is_last: bool) -> int:
    """Of the rows of a batch those that are no padding, which stands behind the last sample.

    A stream does not tell how many rows it has: its padding, on several processes, counts.

    Args:
        rows: of the batch.
        data: what the validation goes over.
        batch: rows of a whole batch of all processes.
        samples: of each question.
        is_last: whether this is the last batch.
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
    """The original questions of some rows, asked once each; samples of one stand together.

    Args:
        rows: of the data.
        encoder: encodes their prompts.
        samples: of each question.
        rewards: names of the reward functions.
    """
    asked = [{**row, "prompt": render(encoder.prompts.original(row))} for row in rows]
    examples = in_one_form(asked)
    each = samples if len(examples) % samples == 0 else 1
    made = [encoder.encode(example["prompt"]) for example in examples[::each]]
    return Turn(examples, [encoding for encoding in made for _ in range(each)], rewards)
