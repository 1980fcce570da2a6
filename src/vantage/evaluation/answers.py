"""Answers of a model to the rows of a data set, by Hugging Face generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import ProcessorMixin

from vantage.questions.schema import frame, read, render


@torch.no_grad()
def answer(
    model,
    processor,
    rows: Dataset,
    *,
    template: str = "{question}",
    system_prompt: str | None = None,
    samples: int = 1,
    temperature: float = 1.0,
    max_tokens: int = 2048,
    batch: int = 32,
    seed: int = 0,
    progress: bool = True,
) -> list[list[str]]:
    """`samples` responses to each row, as texts.

    Args:
        model: a model that generates; its mode is put back afterwards.
        processor: its processor, or tokenizer where rows have no images.
        rows: with `prompt` and, for pictures, `image` or `images`.
        template: text around every question.
        system_prompt: put before every conversation.
        samples: responses a row.
        temperature: of the sampling.
        max_tokens: longest response.
        batch: prompts generated together.
        seed: of the sampling; the state of torch's generator is put back afterwards.
        progress: show a bar.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    options = {
        "do_sample": True,
        "temperature": temperature,
        "top_k": 0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "max_new_tokens": max_tokens,
        "num_return_sequences": samples,
        "pad_token_id": tokenizer.pad_token_id,
    }
    was_training = model.training
    model.eval()
    texts: list[list[str]] = [[] for _ in range(len(rows))]
    asked = _batches(rows, batch, lambda row: frame(read(row), template, system_prompt))
    total = -(-len(rows) // batch)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for places, prompts in tqdm(asked, "Answering", total, disable=not progress):
            inputs = _inputs(processor, prompts).to(model.device)
            ids = model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
            decoded = tokenizer.batch_decode(ids, skip_special_tokens=True)
            for number, place in enumerate(places):
                texts[place] = decoded[number * samples : (number + 1) * samples]
    model.train(was_training)
    return texts


def right_answers(
    texts: list[list[str]], rows: Dataset, reward: Callable[..., list[float]]
) -> np.ndarray:
    """How many responses to each row earn more than half of the reward: right_Q."""
    columns = {name: rows[name] for name in rows.column_names if name not in ("image", "images")}
    samples = len(texts[0])
    repeated = {
        name: [v for v in values for _ in range(samples)] for name, values in columns.items()
    }
    flat = [text for row in texts for text in row]
    scores = np.array(reward(completions=flat, **repeated), dtype=float)
    return (scores.reshape(-1, samples) > 0.5).sum(axis=1)


def _batches(rows: Dataset, size: int, question: Callable) -> Iterator[tuple[list[int], list]]:
    """Prompts with and without images apart, since processors want either; (places, prompts)."""
    waiting: dict[bool, tuple[list[int], list[Any]]] = {True: ([], []), False: ([], [])}
    for place in range(len(rows)):
        asked = question(rows[place])
        places, prompts = waiting[bool(asked.images)]
        places.append(place)
        prompts.append(render(asked))
        if len(places) == size:
            yield list(places), list(prompts)
            places.clear()
            prompts.clear()
    yield from ((places, prompts) for places, prompts in waiting.values() if places)


def _inputs(processor, prompts: list):
    if isinstance(prompts[0], str):
        return processor(text=prompts, return_tensors="pt", padding=True)
    is_processor = isinstance(processor, ProcessorMixin)
    options = {"processor_kwargs": {"padding": True}} if is_processor else {"padding": True}
    return processor.apply_chat_template(
        prompts,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        **options,
    )
