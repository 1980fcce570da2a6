"""veRL's single-turn agent loop, which sends the sampler one placeholder per image.

Written against the veRL versions in `vantage.training.versions.SUPPORTED`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, AgentLoopWorker, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.utils.tokenizer import normalize_token_ids
from verl.utils.tokenizer.chat_template import apply_chat_template

from vantage.errors import EngineError

MEDIA = ("image", "video", "audio")
# Samplers that do not support `logit_bias`.
WITHOUT_BIAS = ("sglang", "trtllm")


@register("vantage")
class OneTurn(SingleTurnAgentLoop):
    """veRL's agent loop with two changes.

    - The sampler receives the placeholders of the chat template, and expands each image into tokens
      itself. veRL would send it expanded tokens, which it collapses only for Qwen2-VL's processor.
      The trainer still uses the expanded prompt.
    - The sampler generates no image tokens, since there is no image for them.
    """

    server_manager: Any

    async def run(self, sampling_params: dict[str, Any], **named: Any) -> AgentLoopOutput:
        """Generate a response.

        Raises:
            EngineError: The response has an image token. veRL then drops the rollout.
        """
        media = media_tokens(self.processor)
        if media and self.rollout_config.name not in WITHOUT_BIAS:
            bias = dict.fromkeys(media, -100.0)
            sampling_params = {**sampling_params, "logit_bias": bias}
        if self.processor is not None:
            messages = list(named["raw_prompt"])
            ids = unexpanded(self.processor, messages, self.apply_chat_template_kwargs)
            # This instance serves one prompt.
            self.server_manager = WithPlaceholders(self.server_manager, ids)
        output = await super().run(sampling_params, **named)
        if not set(media).isdisjoint(output.response_ids):
            raise EngineError(
                "a response has an image token, but no image belongs to it; veRL drops the rollout"
            )
        return output


class WithPlaceholders:
    """Client of veRL's servers that sends a prompt with images with one placeholder per image.

    Args:
        servers: veRL's client of the servers.
        prompt_ids: Token ids of the prompt, with one placeholder per image.
    """

    def __init__(self, servers: Any, prompt_ids: list[int]):
        self._servers, self._prompt_ids = servers, prompt_ids

    async def generate(self, *, prompt_ids: list[int], image_data: Any = None, **rest: Any) -> Any:
        """Generate a response; a prompt without images is sent unchanged."""
        sent = prompt_ids if image_data is None else self._prompt_ids
        return await self._servers.generate(prompt_ids=sent, image_data=image_data, **rest)


def unexpanded(processor: Any, messages: list[dict], options: dict[str, Any]) -> list[int]:
    """Tokenize a conversation with one placeholder per image.

    Args:
        processor: Processor of the model.
        messages: The conversation.
        options: Keyword arguments of the chat template.

    Returns:
        Token ids.
    """
    text = apply_chat_template(processor, messages, tokenize=False, **options)
    tokenizer = processor.tokenizer
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    adds_special = normalize_token_ids(processor(text=["a"])["input_ids"]) != plain
    return tokenizer(text, add_special_tokens=adds_special)["input_ids"]


def check_pictures(processor: Any, prompt_ids: list[int], images: list[Any]) -> None:
    """Check that veRL can prepare the images of a model family for the update.

    veRL decodes the prompt without special tokens before it calls the processor. Some processors
    then find no placeholder, because theirs is a special token.

    Args:
        processor: Processor of the model.
        prompt_ids: Token ids of a prompt with images, expanded.
        images: Its images.

    Raises:
        EngineError: The processor fails; names it.
    """
    worker = SimpleNamespace(processor=processor, tokenizer=processor.tokenizer)
    rollout = SimpleNamespace(multi_modal_data={"images": images}, mm_processor_kwargs={})
    try:
        AgentLoopWorker._compute_multi_modal_inputs(worker, rollout, torch.tensor([prompt_ids]))
    except Exception as error:  # every processor raises its own
        raise EngineError(
            f"{type(processor).__name__}: veRL cannot prepare images with this processor, so every "
            f"rollout would be dropped ({error}). Use --engine trl, or a model with the processor "
            "of Qwen2-VL, Qwen2.5-VL or Qwen3-VL"
        ) from error


def media_tokens(processor: Any) -> list[int]:
    """Ids of the image, video and audio tokens, sorted; empty for a text-only model."""
    found = (getattr(processor, f"{kind}_token_id", None) for kind in MEDIA)
    return sorted({token for token in found if isinstance(token, int)})
