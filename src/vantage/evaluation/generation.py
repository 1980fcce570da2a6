"""Generation of responses by a local model, with Hugging Face transformers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import ProcessorMixin

from vantage.decoding import Decoding, can_decode
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
from vantage.scoped import evaluating


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
    """Sample responses to each row.

    Args:
        model: A model that generates; its train or eval mode is restored afterwards.
        processor: Its processor, or its tokenizer if rows have no images.
        rows: A data set with the column `prompt` and, for images, `image` or `images`.
        template: Text around every question, for `vantage.questions.schema.frame`.
        system_prompt: System prompt of every conversation.
        samples: Responses to each row.
        temperature: Sampling temperature; 0 is greedy decoding.
        max_tokens: Maximum length of a response, in tokens.
        batch: Prompts in a generation batch.
        seed: Seed of the random numbers; torch's random state is restored afterwards.
        progress: Whether to show a progress bar.

    Returns:
        The texts of the `samples` responses to each row.

    Raises:
        ConfigError: If the template has no place for the question, or two for its images.
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
    """Sample responses to questions that all have images, or all have none.

    The samples come from torch's global generator; the seed of `sampling` is ignored.

    Returns:
        The `sampling.samples` responses to each question.

    Raises:
        ConfigError: If the chat template or the processor fails.
        InputError: If a question contains the processor's image placeholder.
    """
    for question in questions:
        refuse(question, placeholders(loaded.processor))
    tokenizer = getattr(loaded.processor, "tokenizer", loaded.processor)
    greedy = sampling.temperature == 0
    prompt_N = np.arange(len(questions)).repeat(sampling.samples).tolist()
    decoding = Decoding(prompt_N, torch.randint(2**62, (len(prompt_N), 1)).tolist())
    shares = can_decode(loaded.model)
    options = {
        "do_sample": not greedy,
        "temperature": None if greedy else sampling.temperature,
        "top_k": None if greedy else 0,
        "top_p": None if greedy else 1.0,
        "repetition_penalty": 1.0,
        "max_new_tokens": sampling.max_tokens,
        "pad_token_id": tokenizer.pad_token_id,
    }
    written = [render(question) for question in questions]
    prompts = written if shares else [written[row] for row in prompt_N]
    with reading(f"model {loaded.path!r}: the chat template or the processor fails on a question"):
        inputs = dict(_inputs(loaded.processor, prompts).to(loaded.model.device))
    for name, value in inputs.items():
        # Some processors return pixels in half precision; the model needs at least its own.
        if value.is_floating_point():
            inputs[name] = value.to(torch.promote_types(value.dtype, loaded.model.dtype))
    with (
        evaluating(loaded.model),
        decoding.applies(loaded.model) if shares else contextlib.nullcontext(),
    ):
        ids = loaded.model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    lengths = (ids != tokenizer.pad_token_id).sum(dim=1).tolist()
    written_tags = _tags(loaded.processor, written)
    tags = [written_tags[row] for row in prompt_N]
    flat = [
        Response(judged(text, tag), length)
        for text, tag, length in zip(texts, tags, lengths, strict=True)
    ]
    starts = range(0, len(flat), sampling.samples)
    return [flat[start : start + sampling.samples] for start in starts]


def right_answers(
    texts: list[list[str]], rows: Dataset, reward: Callable[..., list[float]]
) -> np.ndarray:
    """Count the responses to each row whose reward exceeds 0.5.

    Args:
        texts: Responses to each row, the same number for every row.
        rows: Data set whose columns are passed to the reward, without images.
        reward: Reward function with TRL's signature.

    Returns:
        The counts, right_Q.
    """
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
    """Batch questions, keeping those with images apart: processors take only one kind at once.

    Yields:
        The numbers of up to `size` questions, and the questions.
    """
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
    """Return the tag that ends each prompt: of its text, or as its chat template writes it."""
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
