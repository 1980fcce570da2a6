"""A Qwen2.5-VL with random weights, small enough for two cores, and its processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vantage.demo import model as demo

SPECIAL = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
HIDDEN, LAYERS, HEADS = 512, 2, 8


class Processor(Qwen2_5_VLProcessor):
    """The processor without its video processor, which needs torchvision."""

    def check_argument_for_proper_class(self, name, argument):
        return


def _tokenizer():
    made = demo.tokenizer(demo.sentences())
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    return made


def processor_of(side: int, merge: int = 1) -> Processor:
    """Make the processor for images of `side` x `side` pixels.

    A token is `merge` x `merge` patches of 14 x 14 pixels.
    """
    images = Qwen2VLImageProcessorPil(
        patch_size=14,
        temporal_patch_size=merge,
        merge_size=merge,
        size={"shortest_edge": 14 * 14, "longest_edge": side * side},
    )
    placed = "<|vision_start|><|image_pad|><|vision_end|>"
    template = demo.CHAT_TEMPLATE.replace("<image>", placed)
    return Processor(
        image_processor=images,
        tokenizer=_tokenizer(),
        video_processor=None,
        chat_template=template,
    )


def _config(
    text: dict[str, Any], vision: dict[str, Any], sections: list[int], theta: float
) -> Qwen2_5_VLConfig:
    """The architecture with given sizes; `sections` and `theta` configure rotary positions."""
    tokenizer = _tokenizer()
    start, end, image, video = map(tokenizer.convert_tokens_to_ids, SPECIAL)
    rope = {"rope_type": "default", "mrope_section": sections, "rope_theta": theta}
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return Qwen2_5_VLConfig(
        text_config={**text, **tokens, "bos_token_id": None, "rope_parameters": rope},
        vision_config={**vision, "patch_size": 14, "window_size": 112},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )


def qwen_3b() -> Qwen2_5_VLForConditionalGeneration:
    """The architecture of Qwen2.5-VL-3B with random weights, in bfloat16 on the GPU.

    Sizes and the 2 x 2 merging of patches are those of the published configuration.
    """
    text = {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128_000,
    }
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Qwen2_5_VLForConditionalGeneration(_config(text, vision, [16, 24, 24], 1e6))
    return model.to(torch.bfloat16)


def tiny_config() -> Qwen2_5_VLConfig:
    """Configuration of a model with 200,000 weights; a patch of 14 x 14 pixels is one token."""
    text = {
        "vocab_size": len(_tokenizer()),
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": 64,
        "spatial_merge_size": 1,
        "temporal_patch_size": 1,
        "fullatt_block_indexes": [1],
    }
    return _config(text, vision, [4, 6, 6], 1e4)


def qwen(vocabulary: int) -> Qwen2_5_VLForConditionalGeneration:
    """A tiny Qwen2.5-VL; its random weights are the same in every call."""
    tokenizer = _tokenizer()
    text = {
        "vocab_size": max(vocabulary, len(tokenizer)),
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": 8192,
    }
    vision = {
        "depth": LAYERS,
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_heads": HEADS,
        "out_hidden_size": HIDDEN,
        "spatial_merge_size": 1,
        "temporal_patch_size": 1,
        "fullatt_block_indexes": [LAYERS - 1],
    }
    torch.manual_seed(0)
    made = Qwen2_5_VLForConditionalGeneration(_config(text, vision, [8, 12, 12], 1e4))
    made.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return made
