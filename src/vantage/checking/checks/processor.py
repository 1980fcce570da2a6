"""The processor: whether it can read the rows, and matches the model and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from vantage.checking import parity
from vantage.checking.context import Check, Context
from vantage.checking.findings import Finding
from vantage.errors import EngineError
from vantage.questions.prompts import first_with_images, has_images
from vantage.questions.schema import images_in, render


def processor(context: Context) -> Iterator[Finding]:
    """Report whether the processor can read the rows and matches the model."""
    model = context.model
    if not context.readable:
        yield Finding(
            "error",
            "processor",
            f"rows have images, but the model's processor is a {type(model.processor).__name__}, "
            "which reads only text: its image processor is missing, or needs torchvision",
        )
    with_images = context.readable and has_images(context.rows)
    for level, words in parity.of_model(model, with_images=with_images):
        yield Finding(level, "processor", words)


def trying_pictures(refuse: Callable[[Any, list[int], list[Any]], None]) -> Check:
    """Make a check that tries the first row with images on an engine.

    Args:
        refuse: Called with the processor, the token ids of a prompt and its images; raises
            EngineError if the engine cannot train on them.
    """

    def pictures(context: Context) -> Iterator[Finding]:
        first = first_with_images(context.rows) if context.readable else None
        if first is None:
            return
        prompt = render(context.prompts.original(first))
        try:
            refuse(context.model.processor, context.model.ids(prompt), images_in(prompt))
        except EngineError as error:
            yield Finding("error", "processor", str(error))

    return pictures
