"""A validation on TRL: how it samples, and means in which every sample counts once.

TRL samples as in training, and logs the mean over the batches of a validation. Its last batch is
smaller, or is filled up so that all processes have as many rows.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch

from vantage.training.planning import totals

if TYPE_CHECKING:
    from vantage.training.trl import VantageTrainer


@contextlib.contextmanager
def sampling_at(trainer: VantageTrainer, temperature: float | None) -> Iterator[None]:
    """Within it, responses are sampled at another temperature; 0 takes the likeliest tokens.

    Args:
        trainer: whose options of generation are as they were afterwards.
        temperature: None for that of training.
    """
    if temperature is None:
        yield
        return
    owner: Any = trainer.vllm_generation if trainer.use_vllm else trainer
    changed = _of_vllm(owner, temperature) if trainer.use_vllm else _of_generate(owner, temperature)
    before = {name: getattr(owner, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def _of_vllm(generation: Any, temperature: float) -> dict[str, Any]:
    kept = {k: v for k, v in generation.generation_kwargs.items() if k != "temperature"}
    return {"temperature": temperature, "generation_kwargs": kept}


def _of_generate(trainer: VantageTrainer, temperature: float) -> dict[str, Any]:
    changes = {"do_sample": temperature > 0, "temperature": temperature or 1.0}
    config = copy.deepcopy(trainer.generation_config)
    for name, value in changes.items():
        setattr(config, name, value)
    return {
        "generation_config": config,
        "generation_kwargs": {**trainer.generation_kwargs, **changes},
    }


def count_samples(
    trainer: VantageTrainer, before: Mapping[str, int], part_NF: torch.Tensor
) -> None:
    """Let what TRL logs of a batch of a validation count once a sample.

    Args:
        trainer: whose metrics have a value more than before: a mean over the batch.
        before: metric -> values that it had before the batch.
        part_NF: reward of each response of all processes, by function; NaN without one.
    """
    samples = _samples(trainer, len(part_NF))
    parts = part_NF[:samples].double().cpu().numpy()
    value_N = dict(
        zip(map("rewards/{}/mean".format, trainer.reward_func_names), parts.T, strict=True)
    )
    value_N["reward"] = totals(parts, trainer.reward_weights.tolist())
    for name, values in trainer._metrics["eval"].items():
        if len(values) > before.get(name, 0):
            values[-1:] = value_N[name].tolist() if name in value_N else [values[-1]] * samples


def _samples(trainer: VantageTrainer, rows: int) -> int:
    """Of the rows of a batch those that are no filler; it stands behind the last sample."""
    data = trainer.callback_handler.eval_dataloader.dataset
    if not trainer.accelerator.gradient_state.end_of_dataloader or not isinstance(data, Sized):
        return rows
    whole = trainer.args.eval_batch_size * trainer.accelerator.num_processes
    return len(data) * trainer.num_generations_eval % whole or rows
