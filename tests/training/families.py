"""Tiny untrained models of families whose processors encode images differently."""

from __future__ import annotations

import torch
from tokenizers.pre_tokenizers import ByteLevel
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
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vantage.demo import model as demo

QWEN_SPECIAL = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
HEAD = 16  # values of an attention head of the text model
VISION = {"hidden_size": 32, "intermediate_size": 64, "image_size": 28, "patch_size": 14} | {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def words(*special: str):
    """The demo's tokenizer with a few more special tokens."""
    made = demo.tokenizer(demo.sentences())
    made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def named(**special: str):
    """The demo's tokenizer with special tokens that have names, as those of some families."""
    plain = words(*special.values())
    return PreTrainedTokenizerFast(
        **{**plain.init_kwargs, "extra_special_tokens": special},
        tokenizer_object=plain.backend_tokenizer,
    )


def text(tokenizer) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 4 * HEAD,
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
    """A model whose responses have many lengths and depend on its images."""
    torch.manual_seed(0)
    model = kind(config)
    for weights in model.parameters():
        if weights.ndim > 1 and not weights.any():
            torch.nn.init.normal_(weights, std=0.1)
    ends = [tokenizer.eos_token_id, *range(20, 200, 5)]
    pad = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad)
    return model


class QwenProcessor(Qwen2_5_VLProcessor):
    """Without a video processor, which needs torchvision."""

    def check_argument_for_proper_class(self, name, argument):
        return


def qwen(kind=QwenProcessor, images=Qwen2VLImageProcessorPil, videos=None, merge=1):
    """Patches of all images in one row, grids, token types, positions in three dimensions."""
    return qwen_vl(
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLConfig,
        qwen_processor(kind, images, videos, merge),
        {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 4 * HEAD,
            "window_size": 28 * merge,
            "fullatt_block_indexes": [1],
        },
    )


def qwen_processor(kind, images, videos, merge):
    """The processor of all Qwen VLs, `merge` patches of 14 pixels a side being one token."""
    sizes = {"patch_size": 14, "temporal_patch_size": merge, "merge_size": merge}
    side = 14 * merge
    return kind(
        image_processor=images(
            **sizes, size={"shortest_edge": side**2, "longest_edge": 4 * max(side, 28) ** 2}
        ),
        tokenizer=words(*QWEN_SPECIAL),
        video_processor=videos and videos(**sizes),
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )


def qwen_vl(kind, configuration, processor, vision, rope=None, **more):
    """A Qwen VL; `vision` is of its tower, `rope` of its positions, `more` of its text model."""
    start, end, image, video = map(processor.tokenizer.convert_tokens_to_ids, QWEN_SPECIAL)
    sizes = processor.image_processor
    sections = [HEAD // 8, 3 * HEAD // 16, 3 * HEAD // 16]  # half of a head in all
    rope = {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e4} | (rope or {})
    config = configuration(
        text_config={**text(processor.tokenizer), "rope_parameters": rope, **more},
        vision_config={
            "num_heads": 2,
            "patch_size": sizes.patch_size,
            "spatial_merge_size": sizes.merge_size,
            "temporal_patch_size": sizes.temporal_patch_size,
            **vision,
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
    return untrained(kind, config, processor.tokenizer), processor


def gemma(images=Gemma3ImageProcessorPil):
    """Token types that let the tokens of an image see each other."""
    tokenizer = named(
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )
    tokenizer.add_tokens([lines * "\n" for lines in range(1, 5)])  # around every image
    processor = Gemma3Processor(
        image_processor=images(size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=template("<start_of_image>"),
    )
    config = Gemma3Config(
        text_config={**text(tokenizer), "head_dim": HEAD, "sliding_window": 512},
        vision_config=VISION,
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    return untrained(Gemma3ForConditionalGeneration, config, tokenizer), processor


def llava_next(images=LlavaNextImageProcessorPil):
    """Image processor whose number of tiles depends on the image's shape."""
    tokenizer, shapes = words(), [[28, 56], [56, 28], [56, 56]]
    processor = LlavaNextProcessor(
        image_processor=images(
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


def idefics(
    kind=Idefics3ForConditionalGeneration,
    configuration=Idefics3Config,
    reader=Idefics3Processor,
    images=Idefics3ImageProcessorPil,
    **more,
):
    """Pixels row by row, with room for as many images as the row with most of them has."""
    tokenizer = words("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    processor = reader(
        image_processor=images(
            size={"longest_edge": 28},
            max_image_size={"longest_edge": 28},
            do_image_splitting=False,
        ),
        tokenizer=tokenizer,
        image_seq_len=1,
        chat_template=demo.CHAT_TEMPLATE,
        **more,
    )
    config = configuration(
        vision_config=VISION,
        text_config=LlamaConfig(**text(tokenizer)).to_dict(),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return untrained(kind, config, tokenizer), processor


CHATML = (
    "{{% for message in messages %}}<|im_start|>{{{{ message.role }}}}\n{content}<|im_end|>\n"
    "{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
)


def qwen2():
    """A template that adds the content of a message to a text, and fails where it is none."""
    return text_model(Qwen2ForCausalLM, Qwen2Config, "{{ message.content + '' }}")


def qwen3():
    """A template that leaves out content that is no text."""
    content = "{% if message.content is string %}{{ message.content }}{% endif %}"
    return text_model(Qwen3ForCausalLM, Qwen3Config, content, head_dim=HEAD)


def experts(coefficient: float = 0.05):
    """A model of four experts that is made with a loss that balances them."""
    return text_model(
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig,
        "{{ message.content }}",
        head_dim=HEAD,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        router_aux_loss_coef=coefficient,
    )


def text_model(kind, configuration, content: str, **more):
    """A model without images; its template takes the content of a message as `content` says."""
    tokenizer = Qwen2Tokenizer(
        vocab={letter: n for n, letter in enumerate(sorted(ByteLevel.alphabet()))},
        merges=[],
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
        padding_side="left",
        chat_template=CHATML.format(content=content),
    )
    return untrained(kind, configuration(**text(tokenizer), **more), tokenizer), tokenizer


FAMILIES = {"qwen2.5-vl": qwen, "gemma3": gemma, "llava-next": llava_next, "idefics3": idefics}
