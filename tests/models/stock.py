"""Tiny untrained models of families that people train, with their stock processors."""

from __future__ import annotations

import families
import transformers as hf
from families import text, untrained, words
from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor


def qwen2_vl():
    processor = families.qwen_processor(
        hf.Qwen2VLProcessor, hf.Qwen2VLImageProcessor, hf.Qwen2VLVideoProcessor, merge=2
    )
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 4 * families.HEAD, "mlp_ratio": 2}
    return families.qwen_vl(hf.Qwen2VLForConditionalGeneration, hf.Qwen2VLConfig, processor, vision)


def qwen2_5_vl():
    return families.qwen(
        hf.Qwen2_5_VLProcessor, hf.Qwen2VLImageProcessor, hf.Qwen2VLVideoProcessor, merge=2
    )


def qwen3_vl():
    processor = families.qwen_processor(
        hf.Qwen3VLProcessor, hf.Qwen2VLImageProcessor, hf.Qwen3VLVideoProcessor, merge=2
    )
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 4 * families.HEAD,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
    }
    return families.qwen_vl(
        hf.Qwen3VLForConditionalGeneration,
        hf.Qwen3VLConfig,
        processor,
        vision,
        rope={"mrope_interleaved": True},
        head_dim=families.HEAD,
    )


def internvl():
    """Cuts an image into as many tiles as its shape asks for, and adds a small one of it all."""
    tokenizer = families.named(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(
            size={"height": 28, "width": 28}, crop_to_patches=True, max_patches=2
        ),
        tokenizer=tokenizer,
        video_processor=hf.InternVLVideoProcessor(size={"height": 28, "width": 28}),
        image_seq_length=1,
        chat_template=families.template("<IMG_CONTEXT>"),
    )
    config = hf.InternVLConfig(
        vision_config=families.VISION,
        text_config=hf.Qwen2Config(**text(tokenizer)).to_dict(),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=1,
        tie_word_embeddings=True,
    )
    return untrained(hf.InternVLForConditionalGeneration, config, tokenizer), processor


def llava_onevision():
    """Tiles for a single image, none where a prompt has several."""
    tokenizer, shapes = words("<video>"), [[28, 28], [28, 56], [56, 28], [56, 56]]
    size = {"height": 28, "width": 28}
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=shapes),
        tokenizer=tokenizer,
        video_processor=hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=families.template("<image>"),
    )
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**families.VISION, vision_use_head=False).to_dict(),
        text_config=hf.Qwen2Config(**text(tokenizer)).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=shapes,
        tie_word_embeddings=True,
    )
    return untrained(hf.LlavaOnevisionForConditionalGeneration, config, tokenizer), processor


def smolvlm():
    return families.idefics(
        hf.SmolVLMForConditionalGeneration,
        hf.SmolVLMConfig,
        hf.SmolVLMProcessor,
        SmolVLMImageProcessor,
        video_processor=SmolVLMVideoProcessor(
            size={"longest_edge": 28}, max_image_size={"longest_edge": 28}
        ),
    )


def gemma3():
    return families.gemma(hf.Gemma3ImageProcessor)


def idefics3():
    return families.idefics(images=hf.Idefics3ImageProcessor)


def llava_next():
    return families.llava_next(hf.LlavaNextImageProcessor)


FAMILIES = {
    "Qwen2-VL": qwen2_vl,
    "Qwen2.5-VL": qwen2_5_vl,
    "Qwen3-VL": qwen3_vl,
    "InternVL": internvl,
    "LLaVA-OneVision": llava_onevision,
    "LLaVA-NeXT": llava_next,
    "SmolVLM2": smolvlm,
    "Idefics3": idefics3,
    "Gemma 3": gemma3,
    "Qwen2": families.qwen2,
    "Qwen3": families.qwen3,
}
