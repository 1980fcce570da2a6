"""Converts questions to conversations for veRL's driver and agent workers."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from vantage import config as configuration
from vantage.config import Config
from vantage.errors import InputError
from vantage.questions.pictures import Picture
from vantage.questions.prompts import Prompts
from vantage.questions.schema import Question, Turn, images_in, in_parts, render, taken, written
from vantage.questions.schema import conversation as asked
from vantage.questions.variants import Variants
from vantage.rewards.opening import opened_by
from vantage.training import lengths
from vantage.training.inputs import rows_of
from vantage.training.resolved import Tokenize, prompts_of
from vantage.training.verl import agent as _registered  # noqa: F401, in every agent worker
from vantage.training.verl.translation import template_options

# Columns that a row carries as its conversation instead of as columns.
ASKED = ("prompt", "image", "images")


def config_of(data: DictConfig) -> Config:
    """Read our configuration from the data section of veRL's."""
    return configuration.parse(json.loads(data.vantage))


@functools.cache
def _loaded(text: str, processor: Any) -> tuple[Any, Any]:
    return rows_of(configuration.parse(json.loads(text)), processor)


def loaded(config: Config, processor: Any) -> tuple[Any, Any]:
    """Load and check the rows of training and validation, once per process."""
    return _loaded(json.dumps(configuration.as_values(config)), processor)


def row_of(
    question: Question, source: Mapping[str, Any], number: int, plain: bool, tag: str = ""
) -> dict:
    """Make a row for veRL's agent loop.

    Args:
        question: The prompt.
        source: Data row of the question, whose columns are passed to the rewards.
        number: Number of the data row.
        plain: Whether the model is text-only: its chat template takes no content parts.
        tag: The tag that the chat template adds after the prompt; see `opened_by`.
    """
    prompt = conversation(question, plain)
    columns = {name: value for name, value in source.items() if name not in ASKED}
    return {
        "raw_prompt": prompt,
        "data_source": "validation",
        "reward_model": {"style": "rule", "ground_truth": str(source.get("answer") or "")},
        "extra_info": {
            "columns": columns,
            "prompt": conversation(question, plain=True),
            "opened": tag,
        },
        "index": number,
        "tools_kwargs": {},
        "interaction_kwargs": {},
        "dummy_tensor": torch.zeros(1, dtype=torch.uint8),
    }


def conversation(question: Question, plain: bool) -> list[dict[str, Any]]:
    """Convert a prompt to messages, with images as references that a worker opens.

    Args:
        question: The prompt.
        plain: Whether the content of a message is text instead of parts.

    Raises:
        InputError: The prompt is plain text without messages.
    """
    messages = asked(question)
    if isinstance(messages, str):
        raise _no_messages(messages)
    return [{**message, "content": _content(message, plain)} for message in messages]


def _content(message: Turn, plain: bool) -> str | list[dict[str, Any]]:
    if plain:
        return written(message)
    return [
        {**part, "image": _portable(part["image"])} if "image" in part else dict(part)
        for part in in_parts(message["content"])
    ]


def _portable(picture: Picture) -> Picture:
    """Copy image data that is a view into memory of this process."""
    source = picture.source
    return Picture(bytes(source), picture.steps) if isinstance(source, memoryview) else picture


def tokenizer_of(reader: Any, template_options: Mapping[str, Any] | None = None) -> Tokenize:
    """Return a function from prompts, as made by `render`, to the token ids of veRL's agent loop.

    The function raises an InputError for a plain text prompt, which has no messages.

    Args:
        reader: Processor of the model, or the tokenizer of a text-only model.
        template_options: Keyword arguments of the chat template.
    """
    made = partial(
        reader.apply_chat_template, add_generation_prompt=True, **(template_options or {})
    )

    def tokenize(prompts: Sequence[Any]) -> list[list[int]]:
        for prompt in prompts:
            if isinstance(prompt, str):
                raise _no_messages(prompt)
        if isinstance(reader, PreTrainedTokenizerBase):
            read = [taken(prompt, False) for prompt in prompts]
            return [list(ids) for ids in made(read, tokenize=True, return_dict=False)]
        images = [image for prompt in prompts for image in images_in(prompt)]
        texts = [made(taken(prompt, True), tokenize=False) for prompt in prompts]
        found = reader(text=texts, **({"images": images} if images else {}))["input_ids"]
        return [list(ids) for ids in found]

    return Tokenize(tokenize)


def _no_messages(text: str) -> InputError:
    return InputError(
        f"the prompt {text[:80]!r} is plain text: veRL needs conversations, "
        "[{'role': 'user', 'content': ...}]"
    )


def short_enough(prompts: Prompts, config: Config, tokenizer: Any, processor: Any) -> list[int]:
    """Find the data rows whose prompts are short enough.

    Raises:
        InputError: As `vantage.training.lengths.short_enough`.
    """
    by_tokens = replace(prompts, length=lambda text: len(tokenizer(text)["input_ids"]))
    tokenize = tokenizer_of(processor or tokenizer, template_options(config))
    return lengths.short_enough(
        by_tokens,
        lambda question: len(tokenize(render(question))),
        config.data.max_prompt_tokens,
        config.data.on_long_prompt,
    )


class Questions(Dataset):
    """Data set of veRL (`data.custom_cls`): provides the validation rows, and opens images.

    For training, it only reports the number of rows, since the trainer draws the questions itself.
    """

    def __init__(
        self, data_files: str, tokenizer: Any, config: Any, processor: Any = None, max_samples=-1
    ):
        settings = config_of(config)
        train, validation = loaded(settings, processor)
        held_out = data_files == "validation"
        prompts = prompts_of(settings, validation if held_out else train)
        self._prompts = replace(prompts, variants=Variants())  # the original prompts
        self._plain = processor is None
        options = config.get("apply_chat_template_kwargs") or {}
        self._tag = opened_by(processor or tokenizer, **options)
        self._rows: Sequence[int] = range(len(self._prompts.rows))
        if held_out:  # veRL would silently exclude longer prompts from the mean
            self._rows = short_enough(self._prompts, settings, tokenizer, processor)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Row with the original prompt of a question."""
        row = self._rows[number]
        source = self._prompts.rows[row]
        question = self._prompts.original(source)
        return row_of(question, source, row, self._plain, self._tag)

    @classmethod
    async def process_vision_info(
        cls, messages: list[dict], image_patch_size: int, config: Any
    ) -> tuple[list[Image.Image] | None, None]:
        """Open the images of a conversation in a thread, so that the event loop is not blocked."""
        found = [
            part["image"]
            for message in messages
            if not isinstance(message["content"], str)
            for part in message["content"]
            if "image" in part
        ]
        if not found:
            return None, None
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(None, lambda: [picture.open() for picture in found])
        return opened, None
