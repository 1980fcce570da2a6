"""The prompts of a rollout batch as the model takes them, each encoded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from transformers import ProcessorMixin

from vantage.errors import InputError
from vantage.questions.prompts import Prompts
from vantage.questions.schema import pictures, render, taken
from vantage.training.trl.encoding import Encoding, ImagesOnce, as_tensors, per_prompt
from vantage.training.trl.vllm import written

# Prompts -> ids, images and other fields of each, as TRL's trainers tokenize.
Tokenize = Callable[[list], tuple[list, list | None, dict[str, Any]]]


class Encoder:
    """Encodes prompts.

    Attributes:
        pictured: a prompt with a picture, for forwards that must have one when that of another
            process has; None where forwards need none, or there is none.

    Args:
        prompts: makes the prompt of an id.
        tokenize: of the trainer.
        processor: a processor, or a tokenizer for text alone.
        dtype: of the model; pixels have at least its precision.
        template: options of the chat template.
        writes: whether prompts are also wanted as the template writes them.
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
        self._images = ImagesOnce()

    def clear(self) -> None:
        """Forget the prompts of the last rollout batch."""
        self._known.clear()
        self._images.clear()

    def encode(self, prompt: str | list[dict[str, Any]], shown: Hashable = ()) -> Encoding:
        """Encoding of a prompt.

        Args:
            prompt: a text, or a conversation with its images opened.
            shown: tells its images from those of other prompts.
        """
        sees = isinstance(self.processor, ProcessorMixin)
        with as_tensors(self.processor):
            ids, images, fields = self.tokenize([taken(prompt, sees)])
        known = per_prompt(fields, self.dtype)
        made = Encoding(prompt, list(ids[0]), (images or [None])[0] or [], known, pictures=shown)
        if not self.writes or not made.images:
            return made
        options = {**self.template, "add_generation_prompt": True, "tokenize": False}
        text = self.processor.apply_chat_template(prompt, **options)
        return replace(made, written=written(self.processor, text))

    def __call__(self, prompt: int) -> Encoding:
        """Encoding of the prompt of that id, made once a rollout batch."""
        if prompt not in self._known:
            question = self.prompts.prompt(prompt)
            shown = tuple(pictures(question))
            with self._images.of(self.processor, shown):
                self._known[prompt] = self.encode(render(question), shown)
        return self._known[prompt]

    def shows(self, prompts: Iterable[int]) -> bool:
        """Whether any of the prompts has a picture; encodes none."""
        return any(pictures(self.prompts.prompt(prompt)) for prompt in prompts)

    def in_tokens(self, prompt: int, ids: list[int] | None) -> int:
        """Id of the prompt in other tokens than the processor makes of it.

        Args:
            prompt: id of the prompt.
            ids: the tokens; None for those of the processor.

        Raises:
            InputError: no tokens, or other tokens for a prompt with pictures.
        """
        if ids is None:
            return prompt
        known = self(prompt)
        if known.images or not ids:
            raise InputError(
                f"rollout_func gave {len(ids)} prompt_ids where the processor makes "
                f"{len(known.ids)} of the prompt: with pictures they must be the same, since "
                "pixels belong to their places, and none at all are no prompt"
            )
        asked = self.prompts.written_as(prompt, tuple(ids))
        self._known.setdefault(asked, Encoding(known.prompt, ids, [], {}))
        return asked
