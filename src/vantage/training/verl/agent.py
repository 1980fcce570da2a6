"""veRL's agent loop of one turn: prompts as the sampler wants them, no image tokens in responses.

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
# Engines whose sampling takes no bias.
WITHOUT_BIAS = ("sglang", "trtllm")


@register("vantage")
class OneTurn(SingleTurnAgentLoop):
    """As veRL's, with two differences.

    The sampler makes the tokens of a picture itself, so it is asked with the placeholders of the
    chat template; veRL hands it tokens that are already expanded, and collapses them for Qwen2-VL's
    processor alone. What is trained stays expanded. And a sampled image token would ask for an
    image that is not there.
    """

    server_manager: Any

    async def run(self, sampling_params: dict[str, Any], **named: Any) -> AgentLoopOutput:
        """A response without such tokens.

        Raises:
            EngineError: it has one; veRL counts the rollout as lost.
        """
        media = media_tokens(self.processor)
        if media and self.rollout_config.name not in WITHOUT_BIAS:
            bias = dict.fromkeys(media, -100.0)
            sampling_params = {**sampling_params, "logit_bias": bias}
        if self.processor is not None:
            messages = list(named["raw_prompt"])
            ids = unexpanded(self.processor, messages, self.apply_chat_template_kwargs)
            self.server_manager = Asked(self.server_manager, ids)  # one loop, one prompt
        output = await super().run(sampling_params, **named)
        if not set(media).isdisjoint(output.response_ids):
            raise EngineError("a response holds an image token, for which there is no image")
        return output


class Asked:
    """veRL's servers, asked with other tokens than those that are trained."""

    def __init__(self, servers: Any, prompt_ids: list[int]):
        self._servers, self._prompt_ids = servers, prompt_ids

    async def generate(self, *, prompt_ids: list[int], image_data: Any = None, **rest: Any) -> Any:
        """As the servers; a prompt without pictures stays as it is."""
        asked = prompt_ids if image_data is None else self._prompt_ids
        return await self._servers.generate(prompt_ids=asked, image_data=image_data, **rest)


def unexpanded(processor: Any, messages: list[dict], options: dict[str, Any]) -> list[int]:
    """Tokens of a conversation as the chat template writes it, before pictures are expanded.

    Args:
        processor: of the model.
        messages: the conversation.
        options: of the chat template.
    """
    text = apply_chat_template(processor, messages, tokenize=False, **options)
    words = processor.tokenizer
    bare = words("a", add_special_tokens=False)["input_ids"]
    marked = normalize_token_ids(processor(text=["a"])["input_ids"]) != bare
    return words(text, add_special_tokens=marked)["input_ids"]


def check_pictures(processor: Any, prompt_ids: list[int], images: list[Any]) -> None:
    """Refuse a family whose pictures veRL cannot prepare for the update.

    It decodes a prompt without special tokens and gives that to the processor; where the
    placeholder of a picture is such a token, some processors miss it.

    Args:
        processor: of the model.
        prompt_ids: a prompt with pictures, expanded.
        images: these pictures.

    Raises:
        EngineError: names the processor.
    """
    worker = SimpleNamespace(processor=processor, tokenizer=processor.tokenizer)
    rollout = SimpleNamespace(multi_modal_data={"images": images}, mm_processor_kwargs={})
    try:
        AgentLoopWorker._compute_multi_modal_inputs(worker, rollout, torch.tensor([prompt_ids]))
    except Exception as error:  # every processor raises its own
        raise EngineError(
            f"{type(processor).__name__}: veRL cannot prepare the pictures of this family for the "
            f"update, and every rollout would be lost ({error}). Take --engine trl, or a model "
            "whose processor is that of Qwen2-VL, Qwen2.5-VL or Qwen3-VL"
        ) from error


def media_tokens(processor: Any) -> list[int]:
    """Tokens that stand for pictures, films and sounds; none for a model of text."""
    found = (getattr(processor, f"{kind}_token_id", None) for kind in MEDIA)
    return sorted({token for token in found if isinstance(token, int)})
