"""Check that prompts encode equally in generation and update.

The chat template, image placeholders and special tokens can each make them differ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from transformers import ProcessorMixin

from vantage.checking.findings import Level
from vantage.questions.schema import PLACEHOLDERS, images_in, taken
from vantage.training.resolved import Tokenize

# Attributes of configurations that hold the id of the image token.
IN_CONFIG = ("image_token_id", "image_token_index")


@dataclass(frozen=True)
class Model:
    """A model without its weights.

    Attributes:
        processor: Its processor, or its tokenizer if it has no processor.
        config: Its configuration.
        template_options: Options of the chat template.
        tokenize: The engine's function from prompt to token ids; None to use the processor.
    """

    processor: Any
    config: Any
    template_options: Mapping[str, Any]
    tokenize: Tokenize | None = None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the processor."""
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def reads_images(self) -> bool:
        """Whether the model has a processor; without one, AutoProcessor returns a tokenizer."""
        return isinstance(self.processor, ProcessorMixin)

    @property
    def configured_image_id(self) -> int | None:
        """The token id that the model replaces with image features."""
        found = (getattr(self.config, name, None) for name in IN_CONFIG)
        return next((number for number in found if isinstance(number, int)), None)

    @property
    def image_ids(self) -> set[int]:
        """Image token ids of the processor and the tokenizer; Gemma 3 has two."""
        holders = (self.processor, self.tokenizer)
        found = (getattr(holder, "image_token_id", None) for holder in holders)
        return {number for number in found if isinstance(number, int)}

    @functools.cached_property
    def image_id(self) -> int | None:
        """The token id of an image token."""
        configured = self.configured_image_id
        return next(iter(self.image_ids), None) if configured is None else configured

    @functools.cached_property
    def placeholders(self) -> tuple[str, ...]:
        """Placeholder tokens of images, videos and audio, and tokens that open or close them."""
        holders = (self.processor, self.tokenizer)
        named = [getattr(holder, name, None) for holder in holders for name in PLACEHOLDERS]
        by_id = [i for i in (self.image_id,) if i is not None and i < len(self.tokenizer)]
        tokens = [*map(str, filter(None, named)), *self.tokenizer.convert_ids_to_tokens(by_id)]
        return tuple(dict.fromkeys(tokens))

    @functools.cached_property
    def mark(self) -> str | None:
        """The text that the chat template writes for an image; None if it writes none."""
        parts = [{"type": "image"}, {"type": "text", "text": "."}]
        try:
            shown = self.text([{"role": "user", "content": parts}])
            bare = self.text([{"role": "user", "content": parts[1:]}])
        except Exception:  # templates raise many types
            return None
        once = (t for t in self.placeholders if shown.count(t) == bare.count(t) + 1)
        return next(once, None)

    @functools.cached_property
    def special(self) -> re.Pattern | None:
        """A pattern that matches all special tokens of the model."""
        added = self.tokenizer.added_tokens_decoder.values()
        names = {token.content for token in added if token.special}
        names |= {*self.placeholders, *self.tokenizer.all_special_tokens}
        longest_first = sorted(filter(str.strip, names), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, prompt: Any) -> str:
        """Render a conversation with the chat template; plain text is returned unchanged."""
        if isinstance(prompt, str):
            return prompt
        return self.processor.apply_chat_template(
            taken(prompt, self.reads_images),
            add_generation_prompt=True,
            tokenize=False,
            **self.template_options,
        )

    def ids(self, prompt: Any) -> list[int]:
        """Token ids of a prompt, as in training."""
        if self.tokenize is not None:
            return self.tokenize(prompt)
        return _from_text(self, self.text(prompt), images_in(prompt))

    def ids_of(self, prompts: Sequence[Any]) -> list[list[int]]:
        """Token ids of prompts without images, as in training, encoded in one batch."""
        if self.tokenize is not None:
            return self.tokenize.many(prompts)
        return [self.ids(prompt) for prompt in prompts]

    def hidden_in(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Special tokens that occur in texts."""
        if self.special is None:
            return ()
        return tuple(dict.fromkeys(f for text in texts for f in self.special.findall(text)))

    def grave(self, token: str) -> bool:
        """Whether a token in a text breaks the prompt, as image, padding and end tokens do."""
        ends = (self.tokenizer.pad_token, self.tokenizer.eos_token)
        return token in self.placeholders or token in ends


def placed(model: Model, prompt: Any, ids: list[int]) -> str:
    """Check that each image has a placeholder in the text and in the token ids.

    Args:
        model: The model without its weights.
        prompt: Prompt in the trainer's format, with opened images.
        ids: Token ids of the prompt, as in training.

    Returns:
        The problem; empty if there is none.
    """
    pictures = len(images_in(prompt))
    if model.mark is not None:
        written = model.text(prompt).count(model.mark)
        if written != pictures:
            return f"{pictures} images, but the chat template writes {model.mark!r} {written}x"
    if pictures and model.image_id not in ids:
        return f"{pictures} images, but no image token (id {model.image_id}) among its ids"
    if not pictures and model.image_id is not None and model.image_id in ids:
        return f"no image, but an image token (id {model.image_id}) among its ids"
    return ""


def same_ids(model: Model, prompt: Any, ids: list[int]) -> str:
    """Check that the rendered text encodes to the same ids, and that these decode to its images.

    Arguments and result are those of `placed`.
    """
    pictures = images_in(prompt)
    if not isinstance(prompt, str):
        again = _from_text(model, model.text(prompt), pictures)
        if again != ids:
            at = next(
                (n for n, (a, b) in enumerate(zip(again, ids, strict=False)) if a != b),
                min(len(again), len(ids)),
            )
            return (
                f"{len(ids)} ids from the conversation but {len(again)} from its text, "
                f"different from token {at} on"
            )
    if pictures and model.image_id is not None:
        token = model.tokenizer.convert_ids_to_tokens(model.image_id)
        decoded = model.tokenizer.decode(ids).count(token)
        if decoded != ids.count(model.image_id):
            return f"{ids.count(model.image_id)} image tokens, but {decoded} {token!r} decoded"
    return ""


def of_model(model: Model, *, with_images: bool) -> list[tuple[Level, str]]:
    """Problems of the model's processor that do not depend on the rows: (level, message).

    Args:
        model: The model without its weights.
        with_images: Whether rows have images.
    """
    return [*_of_tokenizer(model), *(_of_images(model) if with_images else ())]


def _of_images(model: Model) -> Iterator[tuple[Level, str]]:
    if model.mark is None:
        yield "error", "its chat template writes no placeholder for an image"
    if model.image_id is None:
        yield "error", "neither processor nor model defines the id of its image token"
    elif model.image_ids and model.image_id not in model.image_ids:
        ids = ", ".join(map(str, sorted(model.image_ids)))
        words = f"image tokens have the id {ids} in the processor but {model.image_id} in the model"
        yield "error", f"{words}: they do not match"


def _of_tokenizer(model: Model) -> Iterator[tuple[Level, str]]:
    tokenizer = model.tokenizer
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        yield "error", "its tokenizer has neither a padding token nor an end token"
    elif tokenizer.pad_token is None:
        yield "warning", "its tokenizer has no padding token; training pads with the end token"
    elif not _pads_left(tokenizer):
        yield "error", "its tokenizer does not pad on the left, as generation needs"
    if tokenizer.eos_token is None:
        words = "its tokenizer has no end token: each response is generated up to the limit"
        yield "warning", words
    vocabulary = getattr(model.config.get_text_config(), "vocab_size", None)
    if vocabulary is not None and len(tokenizer) > vocabulary:
        words = f"its tokenizer has {len(tokenizer)} tokens but the model only {vocabulary}"
        yield "error", f"{words}: they do not match"


def _pads_left(tokenizer) -> bool:
    padded = tokenizer.pad({"input_ids": [[0], [0, 0]]}, padding=True)
    return list(padded["attention_mask"][0]) == [0, 1]


def _from_text(model: Model, text: str, pictures: list[Image.Image]) -> list[int]:
    """Token ids of a rendered text, as `apply_chat_template` encodes it."""
    starts = getattr(model.tokenizer, "bos_token", None)
    options: dict[str, Any] = {"text": [text]}
    if not model.reads_images or (starts is not None and text.startswith(starts)):
        options["add_special_tokens"] = False  # the text already contains them
    if pictures:
        options["images"] = [pictures]
    return np.asarray(model.processor(**options)["input_ids"][0]).tolist()
