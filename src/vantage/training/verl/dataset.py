"""What veRL's driver and agent workers see of the data: questions as conversations."""

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

# Columns that travel as the conversation, not as columns of a row.
ASKED = ("prompt", "image", "images")


def config_of(data: DictConfig) -> Config:
    """Our configuration, which travels in the data section of veRL's."""
    return configuration.parse(json.loads(data.vantage))


@functools.cache
def _loaded(text: str, processor: Any) -> tuple[Any, Any]:
    return rows_of(configuration.parse(json.loads(text)), processor)


def loaded(config: Config, processor: Any) -> tuple[Any, Any]:
    """Rows to train on and to validate on; looked at once a process."""
    return _loaded(json.dumps(configuration.as_values(config)), processor)


def row_of(
    question: Question, source: Mapping[str, Any], number: int, plain: bool, tag: str = ""
) -> dict:
    """A row as veRL's agent loop wants it.

    Args:
        question: the prompt.
        source: the row of the data behind it, whose columns the rewards get.
        number: of that row.
        plain: whether the model reads text alone, whose chat template knows no parts.
        tag: what the chat template opens behind the prompt.
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
    """The prompt as messages, its pictures as references that a worker opens.

    Raises:
        InputError: a plain text prompt, which has no messages.
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
    """The picture without views into memory of this process."""
    source = picture.source
    return Picture(bytes(source), picture.steps) if isinstance(source, memoryview) else picture


def tokenizer_of(reader: Any, template_options: Mapping[str, Any] | None = None) -> Tokenize:
    """Prompt -> ids, as veRL's agent loop makes them; a prompt as `render` makes it.

    Args:
        reader: processor of the model, or its tokenizer where it reads text alone.
        template_options: of the chat template.

    Raises:
        InputError: of a plain text prompt, which has no messages.
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
        f"a plain text prompt, {text[:80]!r}: veRL takes conversations, "
        "[{'role': 'user', 'content': ...}]"
    )


def short_enough(prompts: Prompts, config: Config, tokenizer: Any, processor: Any) -> list[int]:
    """Rows whose prompts fit, by the policy of the configuration.

    Raises:
        InputError: as `vantage.training.lengths.short_enough`.
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
    """The class that `data.custom_cls` names: rows to validate on, and how pictures are opened.

    What is trained is drawn by the trainer, which needs of the training rows their number alone.
    """

    def __init__(
        self, data_files: str, tokenizer: Any, config: Any, processor: Any = None, max_samples=-1
    ):
        settings = config_of(config)
        train, validation = loaded(settings, processor)
        held_out = data_files == "validation"
        prompts = prompts_of(settings, validation if held_out else train)
        self._prompts = replace(prompts, variants=Variants())  # asked as they are
        self._plain = processor is None
        options = config.get("apply_chat_template_kwargs") or {}
        self._tag = opened_by(processor or tokenizer, **options)
        self._rows: Sequence[int] = range(len(self._prompts.rows))
        if held_out:  # a longer one would be left out of the mean without a word
            self._rows = short_enough(self._prompts, settings, tokenizer, processor)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """A question as it is, not varied."""
        row = self._rows[number]
        source = self._prompts.rows[row]
        question = self._prompts.original(source)
        return row_of(question, source, row, self._plain, self._tag)

    @classmethod
    async def process_vision_info(
        cls, messages: list[dict], image_patch_size: int, config: Any
    ) -> tuple[list[Image.Image] | None, None]:
        """Open the pictures of a conversation, off the event loop."""
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
