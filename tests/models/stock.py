"""Tiny untrained models of families that people train, with their stock processors."""

from __future__ import annotations

import families
import transformers as hf
from families import named, template, untrained, words
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


QWEN3_VISION = {
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 4 * families.HEAD,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1],
}
GATED_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": families.HEAD,
    "linear_value_head_dim": families.HEAD,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}


def qwen3_processor():
    return families.qwen_processor(
        hf.Qwen3VLProcessor, hf.Qwen2VLImageProcessor, hf.Qwen3VLVideoProcessor, merge=2
    )


def qwen3_vl():
    return families.qwen_vl(
        hf.Qwen3VLForConditionalGeneration,
        hf.Qwen3VLConfig,
        qwen3_processor(),
        QWEN3_VISION,
        rope={"mrope_interleaved": True},
        head_dim=families.HEAD,
    )


def half_rotary(tokenizer, **rope) -> dict:
    """Positions of time, height and width, which turn half of each attention head."""
    sizes = families.text(tokenizer)
    head = sizes.get("head_dim") or sizes["hidden_size"] // sizes["num_attention_heads"]
    sections = [head // 4 - 2 * (head // 12), head // 12, head // 12]
    turned = {"partial_rotary_factor": 0.5, "mrope_section": sections}
    return {"rope_type": "default", "rope_theta": 1e4, **turned, **rope}


def experts(**more) -> dict:
    """Of a mixture of experts, 2 of 4 at work for each token."""
    return {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, **more}


def qwen3_vl_moe():
    return families.qwen_vl(
        hf.Qwen3VLMoeForConditionalGeneration,
        hf.Qwen3VLMoeConfig,
        qwen3_processor(),
        QWEN3_VISION,
        rope={"mrope_interleaved": True},
        head_dim=families.HEAD,
        **experts(norm_topk_prob=True),
    )


def qwen3_5(kind=hf.Qwen3_5ForConditionalGeneration, configuration=hf.Qwen3_5Config, **more):
    """A state over the whole sequence in most layers, a gate on the attention of the others."""
    processor = qwen3_processor()
    vision = {**QWEN3_VISION, "depth": 2}
    del vision["deepstack_visual_indexes"]
    rope = half_rotary(processor.tokenizer, mrope_interleaved=True)
    return families.qwen_vl(
        kind,
        configuration,
        processor,
        vision,
        rope=rope,
        head_dim=families.HEAD,
        **GATED_DELTA,
        **more,
    )


def qwen3_5_moe():
    return qwen3_5(
        hf.Qwen3_5MoeForConditionalGeneration,
        hf.Qwen3_5MoeConfig,
        **experts(shared_expert_intermediate_size=32),
    )


GLM_SPECIAL = {
    "image_token": "<|image|>",
    "video_token": "<|video|>",
    "image_start": "<|begin_of_image|>",
    "image_end": "<|end_of_image|>",
    "video_start": "<|begin_of_video|>",
    "video_end": "<|end_of_video|>",
}


def glm(kind, configuration, reader, images, videos, **more):
    """Patches of all images in one row; normalized before and after attention."""
    tokenizer = named(**GLM_SPECIAL)
    sizes = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    area = {"shortest_edge": 2 * 28**2, "longest_edge": 2 * 56**2}
    processor = reader(
        image_processor=images(**sizes, size=area),
        tokenizer=tokenizer,
        video_processor=videos(**sizes, size=area),
        chat_template=template("<|begin_of_image|><|image|><|end_of_image|>"),
    )
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in GLM_SPECIAL.items()}
    config = configuration(
        text_config={
            **families.text(tokenizer),
            "rope_parameters": half_rotary(tokenizer),
            **more,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "image_size": 56,
            "out_hidden_size": families.text(tokenizer)["hidden_size"],
            "intermediate_size": 64,
        },
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        image_start_token_id=ids["image_start"],
        image_end_token_id=ids["image_end"],
        video_start_token_id=ids["video_start"],
        video_end_token_id=ids["video_end"],
        tie_word_embeddings=True,
    )
    return untrained(kind, config, tokenizer), processor


def glm_4_1v():
    return glm(
        hf.Glm4vForConditionalGeneration,
        hf.Glm4vConfig,
        hf.Glm4vProcessor,
        hf.Glm4vImageProcessor,
        hf.Glm4vVideoProcessor,
        attention_bias=True,
    )


def glm_4_5v():
    return glm(
        hf.Glm4vMoeForConditionalGeneration,
        hf.Glm4vMoeConfig,
        hf.Glm4vProcessor,
        hf.Glm4vImageProcessor,
        hf.Glm4vVideoProcessor,
        attention_bias=True,
        use_qk_norm=False,
        head_dim=families.HEAD,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
    )


def glm_4_6v():
    return glm(
        hf.Glm46VForConditionalGeneration,
        hf.Glm46VConfig,
        hf.Glm46VProcessor,
        hf.Glm46VImageProcessor,
        hf.Glm46VVideoProcessor,
    )


GEMMA4_SPECIAL = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "video_token": "<|video|>",
}


def gemma4(**more):
    """Padded patches with their positions; windows; layers that share keys and values."""
    tokenizer = named(**GEMMA4_SPECIAL)
    sizes = {"patch_size": 2, "pooling_kernel_size": 2}
    processor = hf.Gemma4Processor(
        feature_extractor=hf.Gemma4AudioFeatureExtractor(),
        image_processor=hf.Gemma4ImageProcessor(**sizes, max_soft_tokens=70),
        tokenizer=tokenizer,
        video_processor=hf.Gemma4VideoProcessor(**sizes, max_soft_tokens=70),
        image_seq_length=70,
        chat_template=template("<|image|>"),
    )
    text = {
        **families.text(tokenizer),
        "head_dim": families.HEAD,
        "global_head_dim": 32,
        "sliding_window": 512,
        "vocab_size_per_layer_input": len(tokenizer),
        "hidden_size_per_layer_input": 0,
        "layer_types": ["sliding_attention", "full_attention"],
        **more,
    }
    config = hf.Gemma4Config(
        text_config=text,
        vision_config={
            **sizes,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": families.HEAD,
            "position_embedding_size": 256,
        },
        audio_config=None,
        **{
            f"{name}_id": tokenizer.convert_tokens_to_ids(token)
            for name, token in GEMMA4_SPECIAL.items()
            if name != "eoa_token"
        },
        eoa_token_index=tokenizer.convert_tokens_to_ids("<audio|>"),
    )
    model = untrained(hf.Gemma4ForConditionalGeneration, config, tokenizer)
    for name, weights in model.named_parameters():  # or attention, which is not scaled, is sharp
        if "k_norm" in name:
            weights.data /= 4
    return model, processor


def gemma4_small():
    """As the small ones: inputs of their own for every layer, keys and values of earlier ones."""
    return gemma4(
        num_hidden_layers=3,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        num_kv_shared_layers=1,
        hidden_size_per_layer_input=8,
        use_double_wide_mlp=True,
    )


def gemma4_moe():
    """As the large ones: experts, and image tokens that see later ones."""
    return gemma4(
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=32,
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        use_bidirectional_attention="vision",
    )


MINICPM_SPECIAL = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}


def minicpm(kind, configuration, reader, **more):
    """Patches of all images and of their slices side by side in one row, no batch of images."""
    tokenizer = named(**MINICPM_SPECIAL)
    sizes = {"patch_size": 4, "scale_resolution": 28}
    processor = reader(
        image_processor=hf.MiniCPMV4_6ImageProcessor(**sizes),
        video_processor=hf.MiniCPMV4_6VideoProcessor(**sizes),
        tokenizer=tokenizer,
        chat_template=template("<|image_pad|>"),
    )
    config = configuration(
        text_config={
            **families.text(tokenizer),
            "model_type": "qwen3_5_text",
            "head_dim": families.HEAD,
            "rope_parameters": half_rotary(tokenizer, mrope_interleaved=True),
            **GATED_DELTA,
        },
        vision_config={**families.VISION, "image_size": 32, "patch_size": 4},
        insert_layer_id=0,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        tie_word_embeddings=True,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in more.items()},
    )
    return untrained(kind, config, tokenizer), processor


def minicpm_4_6():
    return minicpm(
        hf.MiniCPMV4_6ForConditionalGeneration, hf.MiniCPMV4_6Config, hf.MiniCPMV4_6Processor
    )


def minicpm_4_7():
    return minicpm(
        hf.MiniCPMV4_7ForConditionalGeneration,
        hf.MiniCPMV4_7Config,
        hf.MiniCPMV4_7Processor,
        image_start_id="<image>",
        image_end_id="</image>",
        slice_start_id="<slice>",
        slice_end_id="</slice>",
        newline_id="\n",
    )


def lfm2_vl():
    """Tiles of several sizes, padded; short convolutions over the sequence."""
    marks = [f"<|img_row_{row}_col_{col}|>" for row in (1, 2) for col in (1, 2)]
    tokenizer = words("<|image_start|>", "<|image_end|>", "<|img_thumbnail|>", *marks)
    processor = hf.Lfm2VlProcessor(
        image_processor=hf.Lfm2VlImageProcessor(
            encoder_patch_size=7,
            tile_size=28,
            max_tiles=2,
            min_image_tokens=1,
            max_image_tokens=4,
            max_pixels_tolerance=1.5,
        ),
        tokenizer=tokenizer,
        chat_template=template("<image>"),
    )
    config = hf.Lfm2VlConfig(
        vision_config=hf.Siglip2VisionConfig(
            **{**families.VISION, "patch_size": 7}, num_patches=16, vision_use_head=False
        ).to_dict(),
        text_config={
            **families.text(tokenizer),
            "model_type": "lfm2",
            "layer_types": ["conv", "full_attention"],
            "conv_dim": 4 * families.HEAD,
            "block_dim": 4 * families.HEAD,
            "block_ff_dim": 96,
            "block_auto_adjust_ff_dim": False,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=64,
    )
    return untrained(hf.Lfm2VlForConditionalGeneration, config, tokenizer), processor


def mistral3():
    """Images of any shape, padded to that of the largest; a mark at the end of every row."""
    tokenizer = words("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    processor = hf.PixtralProcessor(
        image_processor=hf.PixtralImageProcessor(size={"longest_edge": 56}, patch_size=7),
        tokenizer=tokenizer,
        patch_size=7,
        spatial_merge_size=2,
        chat_template=template("[IMG]"),
    )
    config = hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(
            **{**families.VISION, "patch_size": 7, "image_size": 56}
        ).to_dict(),
        text_config=hf.MistralConfig(
            **families.text(tokenizer), sliding_window=None, head_dim=families.HEAD
        ).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
    )
    return untrained(hf.Mistral3ForConditionalGeneration, config, tokenizer), processor


def kimi():
    """Images of any shape in one row; attention over compressed keys, and experts."""
    tokenizer = named(
        image_token="<|media_pad|>",
        video_token="<|kimi_k25_video_placeholder|>",
        start="<|media_begin|>",
        content="<|media_content|>",
        end="<|media_end|>",
    )
    processor = hf.Kimi_K25Processor(
        image_processor=hf.Kimi_K25ImageProcessor(patch_size=14),
        tokenizer=tokenizer,
        video_processor=hf.Kimi_K25VideoProcessor(patch_size=14),
        chat_template=template("<|media_begin|><|media_content|><|media_pad|><|media_end|>"),
    )
    start, end = map(tokenizer.convert_tokens_to_ids, ("<|media_begin|>", "<|media_end|>"))
    config = hf.Kimi_K25Config(
        text_config={
            **families.text(tokenizer),
            "model_type": "deepseek_v3",
            "num_key_value_heads": families.text(tokenizer)["num_attention_heads"],
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 16,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
        },
        vision_config={
            "pos_emb_height": 4,
            "pos_emb_width": 4,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
        },
        projection_hidden_size=32,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    return untrained(hf.Kimi_K25ForConditionalGeneration, config, tokenizer), processor


def ovis2():
    """Visual words of a table of its own; tiles as InternVL, with marks between them."""
    marks = ("<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
    tokenizer = words(*marks)
    processor = hf.Ovis2Processor(
        image_processor=hf.Ovis2ImageProcessor(
            size={"height": 28, "width": 28}, crop_to_patches=True, max_patches=2
        ),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=template("<image>"),
    )
    atom, *indicators = map(tokenizer.convert_tokens_to_ids, marks)
    config = hf.Ovis2Config(
        vision_config={**families.VISION, "vocab_size": 32},
        text_config=hf.Qwen2Config(**families.text(tokenizer)).to_dict(),
        image_token_id=atom,
        visual_indicator_token_ids=indicators,
        vocab_size=len(tokenizer),
        hidden_size=families.text(tokenizer)["hidden_size"],
    )
    return untrained(hf.Ovis2ForConditionalGeneration, config, tokenizer), processor


def aya_vision():
    """Tiles as InternVL, with numbered marks; layers without positions between windows."""
    tokenizer = words("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "TILE", "TILE_GLOBAL")
    processor = hf.AyaVisionProcessor(
        image_processor=hf.GotOcr2ImageProcessor(
            size={"height": 28, "width": 28}, crop_to_patches=True, max_patches=2
        ),
        tokenizer=tokenizer,
        patch_size=14,
        img_size=28,
        chat_template=template("<image>"),
    )
    config = hf.AyaVisionConfig(
        vision_config=hf.SiglipVisionConfig(
            **{**families.VISION, "patch_size": 7}, vision_use_head=False
        ).to_dict(),
        text_config=hf.Cohere2Config(
            **families.text(tokenizer),
            sliding_window=512,
            layer_types=["sliding_attention", "full_attention"],
        ).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
    )
    return untrained(hf.AyaVisionForConditionalGeneration, config, tokenizer), processor


def llama4():
    """Tiles and a small one of it all; experts, and attention in chunks."""
    marks = ("<|image_start|>", "<|image_end|>", "<|patch|>", "<|image|>")
    tokenizer = words(*marks, "<|tile_x_separator|>", "<|tile_y_separator|>")
    processor = hf.Llama4Processor(
        image_processor=hf.Llama4ImageProcessor(size={"height": 28, "width": 28}, max_patches=2),
        tokenizer=tokenizer,
        patch_size=7,
        chat_template=template("<|image|>"),
    )
    start, end, patch, _ = map(tokenizer.convert_tokens_to_ids, marks)
    config = hf.Llama4Config(
        vision_config={
            **families.VISION,
            "patch_size": 7,
            "intermediate_size": 128,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
        text_config={
            **families.text(tokenizer),
            "head_dim": families.HEAD,
            "intermediate_size_mlp": 96,
            "num_local_experts": 4,
            "no_rope_layers": [1, 0],
            "attention_chunk_size": 512,
        },
        boi_token_index=start,
        eoi_token_index=end,
        image_token_index=patch,
    )
    return untrained(hf.Llama4ForConditionalGeneration, config, tokenizer), processor


def deepseek_vl():
    tokenizer = named(image_token="<image_placeholder>")
    processor = hf.DeepseekVLProcessor(
        image_processor=hf.DeepseekVLImageProcessor(size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        num_image_tokens=4,
        chat_template=template("<image_placeholder>"),
    )
    config = hf.DeepseekVLConfig(
        vision_config=hf.SiglipVisionConfig(**families.VISION, vision_use_head=False).to_dict(),
        text_config=hf.LlamaConfig(**families.text(tokenizer)).to_dict(),
        image_token_id=tokenizer.image_token_id,
    )
    return untrained(hf.DeepseekVLForConditionalGeneration, config, tokenizer), processor


ERNIE_SPECIAL = {
    "image_token": "<|IMAGE_PLACEHOLDER|>",
    "image_start_token": "<|IMAGE_START|>",
    "image_end_token": "<|IMAGE_END|>",
    "video_token": "<|VIDEO_PLACEHOLDER|>",
    "video_start_token": "<|VIDEO_START|>",
    "video_end_token": "<|VIDEO_END|>",
}


def ernie():
    """Experts of their own for images, told by a second kind of token types."""
    tokenizer = named(**ERNIE_SPECIAL)
    area = {"shortest_edge": 28**2, "longest_edge": 56**2}
    processor = hf.Ernie4_5_VLMoeProcessor(
        image_processor=hf.Ernie4_5_VLMoeImageProcessor(size=area),
        tokenizer=tokenizer,
        video_processor=hf.Ernie4_5_VLMoeVideoProcessor(size=area, draw_on_frames=False),
        chat_template=template("<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"),
    )
    config = hf.Ernie4_5_VLMoeConfig(
        text_config={
            **families.text(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [
                    3 * families.HEAD // 16,
                    3 * families.HEAD // 16,
                    families.HEAD // 8,
                ],
            },
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_num_shared_experts": 1,
            "moe_intermediate_size": [32, 16],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
        },
        **{f"{name}_id": tokenizer.convert_tokens_to_ids(t) for name, t in ERNIE_SPECIAL.items()},
    )
    return untrained(hf.Ernie4_5_VLMoeForConditionalGeneration, config, tokenizer), processor


def molmo2():
    """Crops that overlap, pooled where the processor says; image tokens that see later ones."""
    marks = ("<im_patch>", "<im_start>", "<low_res_im_start>", "<im_end>", "<frame_start>")
    tokenizer = words(*marks, "<frame_end>", "<im_col>", "<im_low>", "<|image|>", "<|video|>")
    processor = hf.Molmo2Processor(
        image_processor=hf.Molmo2ImageProcessor(
            size={"height": 28, "width": 28}, patch_size=7, max_crops=2, overlap_margins=[1, 1]
        ),
        video_processor=hf.Molmo2VideoProcessor(size={"height": 28, "width": 28}, patch_size=7),
        tokenizer=tokenizer,
        chat_template=template("<|image|>"),
    )
    patch, start, low, end, frame = map(tokenizer.convert_tokens_to_ids, marks)
    sizes = families.text(tokenizer)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": families.HEAD}
    heads["initializer_range"] = 0.1
    config = hf.Molmo2Config(
        text_config={**sizes, "head_dim": families.HEAD, "additional_vocab_size": 8},
        vision_config={**families.VISION, **heads, "image_size": [28, 28], "patch_size": 7},
        adapter_config={
            **heads,
            "vision_feature_layer": [1, 0],
            "hidden_size": 32,
            "intermediate_size": 64,
            "text_hidden_size": sizes["hidden_size"],
        },
        initializer_range=0.1,
        image_patch_id=patch,
        image_start_token_id=start,
        low_res_image_start_token_id=low,
        image_end_token_id=end,
        frame_start_token_id=frame,
        frame_end_token_id=tokenizer.convert_tokens_to_ids("<frame_end>"),
    )
    return untrained(hf.Molmo2ForConditionalGeneration, config, tokenizer), processor


def internvl():
    """Cuts an image into as many tiles as its shape asks for, and adds a small one of it all."""
    tokenizer = named(
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
        chat_template=template("<IMG_CONTEXT>"),
    )
    config = hf.InternVLConfig(
        vision_config=families.VISION,
        text_config=hf.Qwen2Config(**families.text(tokenizer)).to_dict(),
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
        chat_template=template("<image>"),
    )
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**families.VISION, vision_use_head=False).to_dict(),
        text_config=hf.Qwen2Config(**families.text(tokenizer)).to_dict(),
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
    "Qwen3-VL MoE": qwen3_vl_moe,
    "Qwen3.5": qwen3_5,
    "Qwen3.5 MoE": qwen3_5_moe,
    "GLM-4.1V": glm_4_1v,
    "GLM-4.5V": glm_4_5v,
    "GLM-4.6V": glm_4_6v,
    "MiniCPM-V 4.6": minicpm_4_6,
    "MiniCPM-V 4.7": minicpm_4_7,
    "LFM2-VL": lfm2_vl,
    "Mistral 3": mistral3,
    "Kimi K2.5": kimi,
    "Ovis2": ovis2,
    "Molmo 2": molmo2,
    "ERNIE 4.5 VL": ernie,
    "DeepSeek-VL": deepseek_vl,
    "InternVL": internvl,
    "LLaVA-OneVision": llava_onevision,
    "LLaVA-NeXT": llava_next,
    "SmolVLM2": smolvlm,
    "Idefics3": idefics3,
    "Gemma 3": gemma3,
    "Gemma 4, small": gemma4_small,
    "Gemma 4, MoE": gemma4_moe,
    "Qwen2": families.qwen2,
    "Qwen3": families.qwen3,
}
# What the start refuses, and why.
REFUSED = {
    "Aya Vision": (aya_vision, "differ from those of the logits of AyaVision"),
    "Llama 4": (llama4, "cannot score the tokens of Llama4"),
}
