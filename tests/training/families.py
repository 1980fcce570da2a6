"""Tiny untrained models of families whose processors differ in what they make of images."""

from __future__ import annotations

import torch
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vantage.demo import model as demo

VISION = {"hidden_size": 32, "intermediate_size": 64, "image_size": 28, "patch_size": 14} | {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def words(*special: str):
    """The demo's tokenizer with a few more special tokens."""
    made = demo.tokenizer(demo.sentences())
    made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def text(tokenizer) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }


def template(image: str) -> str:
    return demo.CHAT_TEMPLATE.replace("<image>", image)


def untrained(kind, config, tokenizer):
    """A model whose responses have many lengths."""
    torch.manual_seed(0)
    model = kind(config)
    ends = [tokenizer.eos_token_id, *range(20, 200, 5)]
    pad = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad)
    return model


class QwenProcessor(Qwen2_5_VLProcessor):
    """Without a video processor, which needs torchvision."""

    def check_argument_for_proper_class(self, name, argument):
        return


def qwen():
    """Patches of all images in one row, grids, token types, positions in three dimensions."""
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = words(*special)
    images = Qwen2VLImageProcessorPil(
        patch_size=14,
        temporal_patch_size=1,
        merge_size=1,
        size={"shortest_edge": 14 * 14, "longest_edge": 56 * 56},
    )
    processor = QwenProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    start, end, image, video = map(tokenizer.convert_tokens_to_ids, special)
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        text_config={**text(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 1,
            "temporal_patch_size": 1,
            "window_size": 28,
            "fullatt_block_indexes": [1],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
    return untrained(Qwen2_5_VLForConditionalGeneration, config, tokenizer), processor


def gemma():
    """Token types that let the tokens of an image see each other."""
    special = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    tokenizer = words(*special.values())
    for name, token in special.items():
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=template("<start_of_image>"),
    )
    config = Gemma3Config(
        text_config={**text(tokenizer), "head_dim": 16, "sliding_window": 512},
        vision_config=VISION,
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    return untrained(Gemma3ForConditionalGeneration, config, tokenizer), processor


def llava_next():
    """Another number of tiles for every shape of an image."""
    tokenizer, shapes = words(), [[28, 56], [56, 28], [56, 56]]
    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 28},
            crop_size={"height": 28, "width": 28},
            image_grid_pinpoints=shapes,
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=demo.CHAT_TEMPLATE,
    )
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(**text(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=shapes,
        vision_feature_layer=-1,
    )
    return untrained(LlavaNextForConditionalGeneration, config, tokenizer), processor


def idefics():
    """Pixels row by row, with room for as many images as the row with most of them has."""
    tokenizer = words("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            size={"longest_edge": 28},
            max_image_size={"longest_edge": 28},
            do_image_splitting=False,
        ),
        tokenizer=tokenizer,
        image_seq_len=1,
        chat_template=demo.CHAT_TEMPLATE,
    )
    config = Idefics3Config(
        vision_config=VISION,
        text_config=LlamaConfig(**text(tokenizer)).to_dict(),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return untrained(Idefics3ForConditionalGeneration, config, tokenizer), processor


FAMILIES = {"qwen2.5-vl": qwen, "gemma3": gemma, "llava-next": llava_next, "idefics3": idefics}
