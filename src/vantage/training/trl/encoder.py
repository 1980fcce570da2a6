"""Encodes each prompt of a rollout batch once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from transformers import BatchFeature, ProcessorMixin

from vantage.errors import InputError
from vantage.questions.prompts import Prompts
from vantage.questions.schema import pictures, render, taken
from vantage.scoped import scoped
from vantage.training.trl.encoding import Encoding, ImagesOnce, per_prompt
from vantage.training.trl.vllm import written

# TRL's tokenization: prompts -> ids, images, and other fields.
Tokenize = Callable[[list], tuple[list, list | None, dict[str, Any]]]


class Encoder:
    """Encodes prompts, and caches them for a rollout batch.

    Attributes:
        pictured: Encoding of a prompt with an image, which pads forwards without one if that of
            another process has one; None if this is never needed.

    Args:
        prompts: Makes prompts from their ids.
        tokenize: Tokenization of the trainer.
        processor: A processor, or a tokenizer for text-only models.
        dtype: Dtype of the model; pixel values have at least its precision.
        template: Options of the chat template.
        writes: Whether to also tokenize prompts without expanding image placeholders.
    """

    def __init__(
        self,
        prompts: Prompts,
        tokenize: Tokenize,
        processor: Any,
        dtype: Any,
        template: Mapping[str, Any],
        *,
        writes: bool = False,
    ):
        self.prompts, self.tokenize, self.processor = prompts, tokenize, processor
        self.dtype, self.template, self.writes = dtype, template, writes
        self.pictured: Encoding | None = None
        self._known: dict[int, Encoding] = {}
        self._images: dict[Hashable, BatchFeature] = {}

    def clear(self) -> None:
        """Clear the cache of the last rollout batch."""
        self._known.clear()
        self._images.clear()

    def encode(self, prompt: str | list[dict[str, Any]], shown: Hashable = ()) -> Encoding:
        """Encode a prompt.

        Args:
            prompt: A text, or a conversation with opened images.
            shown: Key that identifies its images, which are then processed once per rollout batch.
        """
        sees = isinstance(self.processor, ProcessorMixin)
        with self._images_once(shown) if sees else contextlib.nullcontext():
            ids, images, fields = self.tokenize([taken(prompt, sees)])
        known = per_prompt(fields, self.dtype)
        made = Encoding(prompt, list(ids[0]), (images or [None])[0] or [], known, pictures=shown)
        if not self.writes or not made.images:
            return made
        options = {**self.template, "add_generation_prompt": True, "tokenize": False}
        text = self.processor.apply_chat_template(prompt, **options)
        return replace(made, written=written(self.processor, text))

    def _images_once(self, shown: Hashable) -> contextlib.AbstractContextManager:
        once = ImagesOnce(self.processor.image_processor, self._images, shown)
        return scoped(self.processor, image_processor=once)

    def __call__(self, prompt: int) -> Encoding:
        """Encode the prompt with this id, at most once per rollout batch."""
        if prompt not in self._known:
            question = self.prompts.prompt(prompt)
            self._known[prompt] = self.encode(render(question), tuple(pictures(question)))
        return self._known[prompt]

    def shows(self, prompts: Iterable[int]) -> bool:
        """Whether any of the prompts has an image; does not encode them."""
        return any(pictures(self.prompts.prompt(prompt)) for prompt in prompts)

    def in_tokens(self, prompt: int, ids: list[int] | None) -> int:
        """Register other tokens for a prompt, and return the id of this encoding.

        Args:
            prompt: Id of the prompt.
            ids: The tokens; None for those of the processor.

        Raises:
            InputError: There are no tokens, or the prompt has images.
        """
        if ids is None:
            return prompt
        known = self(prompt)
        if known.images or not ids:
            raise InputError(
                f"rollout_func returned {len(ids)} prompt_ids for a prompt that the processor "
                f"encodes in {len(known.ids)}: they must not be empty, and for a prompt with "
                "images they must be the same, since image features belong to their positions"
            )
        asked = self.prompts.written_as(prompt, tuple(ids))
        self._known.setdefault(asked, Encoding(known.prompt, ids, [], {}))
        return asked
