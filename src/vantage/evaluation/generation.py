"""Responses of a model on this machine, by Hugging Face generation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import ProcessorMixin

from vantage.errors import ConfigError, reading
from vantage.evaluation.models import Loaded
from vantage.evaluation.sampling import Read, Response, Sampling
from vantage.questions.schema import (
    Question,
    fault_of,
    frame,
    pictures,
    placeholders,
    read,
    refuse,
    render,
    taken,
)
from vantage.rewards.opening import judged, opened, opened_by


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
        template: text around every question, as `vantage.questions.schema.frame` takes it.
        system_prompt: put before every conversation.
        samples: responses a row.
        temperature: of the sampling.
        max_tokens: longest response.
        batch: prompts generated together.
        seed: of the sampling; the state of torch's generator is put back afterwards.
        progress: show a bar.

    Raises:
        ConfigError: a template without a place for the question, or with two for its images.
    """
    fault = fault_of(template)
    if fault:
        raise ConfigError(f"template={template!r} {fault}")
    sampling = Sampling(samples, temperature, max_tokens, seed)
    loaded = Loaded("", model, processor, "")
    texts: list[list[str]] = [[] for _ in range(len(rows))]
    asked = batches(
        range(len(rows)), batch, lambda row: frame(read(rows[row]), template, system_prompt)
    )
    total = -(-len(rows) // batch)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for places, questions in tqdm(asked, "Answering", total, disable=not progress):
            responses = generate(loaded, questions, sampling)
            for place, said in zip(places, responses, strict=True):
                texts[place] = [response.text for response in said]
    return texts


@torch.no_grad()
def generate(
    loaded: Loaded, questions: Sequence[Question], sampling: Sampling
) -> list[list[Response]]:
    """Responses to questions that all have pictures, or none.

    Drawn by torch's generator; the seed of `sampling` does not count.

    Raises:
        ConfigError: a chat template or a processor that fails.
        InputError: a question writes what the processor takes for a picture.
    """
    for question in questions:
        refuse(question, placeholders(loaded.processor))
    tokenizer = getattr(loaded.processor, "tokenizer", loaded.processor)
    greedy = sampling.temperature == 0
    # In some families transformers deals the pictures of a prompt with several to its copies.
    copies = sampling.samples if any(len(pictures(q)) > 1 for q in questions) else 1
    options = {
        "do_sample": not greedy,
        "temperature": None if greedy else sampling.temperature,
        "top_k": None if greedy else 0,
        "top_p": None if greedy else 1.0,
        "repetition_penalty": 1.0,
        "max_new_tokens": sampling.max_tokens,
        "num_return_sequences": sampling.samples // copies,
        "pad_token_id": tokenizer.pad_token_id,
    }
    prompts = [render(question) for question in questions for _ in range(copies)]
    with reading(f"model {loaded.path!r}: its chat template and processor fail on a question"):
        inputs = dict(_inputs(loaded.processor, prompts).to(loaded.model.device))
    for name, value in inputs.items():
        if value.is_floating_point():  # some processors round pixels
            inputs[name] = value.to(torch.promote_types(value.dtype, loaded.model.dtype))
    with _evaluating(loaded.model):
        ids = loaded.model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    lengths = (ids != tokenizer.pad_token_id).sum(dim=1).tolist()
    each = sampling.samples // copies
    tags = [tag for tag in _tags(loaded.processor, prompts) for _ in range(each)]
    flat = [
        Response(judged(text, tag), length)
        for text, tag, length in zip(texts, tags, lengths, strict=True)
    ]
    starts = range(0, len(flat), sampling.samples)
    return [flat[start : start + sampling.samples] for start in starts]


@contextlib.contextmanager
def _evaluating(model) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


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


def batches(
    places: Iterable[int], size: int, question: Read
) -> Iterator[tuple[list[int], list[Question]]]:
    """Questions with and without images apart, since processors want either."""
    waiting: dict[bool, tuple[list[int], list[Question]]] = {True: ([], []), False: ([], [])}
    for place in places:
        asked = question(place)
        kind, questions = waiting[bool(pictures(asked))]
        kind.append(place)
        questions.append(asked)
        if len(kind) == size:
            yield list(kind), list(questions)
            kind.clear()
            questions.clear()
    yield from ((kind, questions) for kind, questions in waiting.values() if kind)


def _tags(processor, prompts: list) -> list[str]:
    """The tag that each prompt opens at its end, or its chat template."""
    if isinstance(prompts[0], str):
        return [opened(prompt) for prompt in prompts]
    return [opened_by(processor)] * len(prompts)


def _inputs(processor, prompts: list):
    if isinstance(prompts[0], str):
        return processor(text=prompts, return_tensors="pt", padding=True)
    is_processor = isinstance(processor, ProcessorMixin)
    options = {"processor_kwargs": {"padding": True}} if is_processor else {"padding": True}
    return processor.apply_chat_template(
        [taken(prompt, is_processor) for prompt in prompts],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        **options,
    )
