"""Tiny untrained models of real architectures, data sets to train them on, and reward functions."""

from __future__ import annotations

from pathlib import Path

import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Picture
from tokenizers import pre_tokenizers
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

SIDE = 28


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MEDIA = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def words() -> Qwen2Tokenizer:
    """Qwen's tokenizer with a vocabulary of single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(
        vocab={letter: number for number, letter in enumerate(alphabet)},
        merges=[],
        chat_template=CHAT,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *MEDIA]})
    return tokenizer


def text_options(tokenizer) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }


def saved(model, tokenizer, directory: Path, seed: int) -> str:
    """Save a model with many end tokens, so that responses differ in length."""
    ends = [tokenizer.eos_token_id, *range(20, 250, 6)]
    model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def text_model(directory: Path, seed: int = 0) -> str:
    """Save a Qwen2 with tens of thousands of parameters."""
    tokenizer = words()
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(Qwen2Config(**text_options(tokenizer), tie_word_embeddings=True))
    return saved(model, tokenizer, directory, seed)


def vision_model(directory: Path, seed: int = 0) -> str:
    """Save a Qwen2.5-VL with its stock processor."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    tokenizer = words()
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(MEDIA))
    shape = {"patch_size": 14, "temporal_patch_size": 1, "merge_size": 1}
    sizes = {"size": {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE}}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**shape, **sizes),
        tokenizer,
        Qwen2VLVideoProcessor(**shape, **sizes),
        chat_template=CHAT,
    )
    text = text_options(tokenizer) | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    }
    vision = {
        "depth": 1,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": text["hidden_size"],
        "patch_size": 14,
        "spatial_merge_size": 1,
        "temporal_patch_size": 1,
        "window_size": 28,
        "fullatt_block_indexes": [0],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    path = saved(model, tokenizer, directory, seed)
    processor.save_pretrained(directory)
    return path


def rows(file: Path, count: int = 12, images: bool = False) -> str:
    """Write questions of different lengths, each with a second wording, to a Parquet file."""
    table = []
    for number in range(count):
        question = "Add the digits. " + "Think first. " * (number % 3)
        row = {"question": question, "answer": str(number), "other": ["The sum of the digits."]}
        if images:
            row["images"] = [Picture.new("RGB", (SIDE, SIDE), (20 * number, 90, 200))]
        table.append(row)
    features = {"question": Value("string"), "answer": Value("string")}
    features["other"] = List(Value("string"))
    if images:
        features["images"] = List(Image())
    Dataset.from_list(table, features=Features(features)).to_parquet(file)
    return str(file)


def length(completions: list, **columns) -> list[float]:
    """Reward that differs between responses: length modulo 3, halved."""
    return [len(completion[0]["content"]) % 3 / 2 for completion in completions]


def sometimes(completions: list, **columns) -> list[float]:
    """As `length`, but fails for some responses, and is 0 for all responses of some questions."""
    (text,) = (completion[0]["content"] for completion in completions)
    if sum(map(ord, text)) % 5 == 0:
        raise ValueError("a reward that fails")
    return [0.0] if columns["answer"][0] in "13579" else length(completions)


def broken(completions: list, **columns) -> list[float]:
    """Always raises an error."""
    raise ValueError("a reward that fails")


def nothing(completions: list, **columns) -> list:
    """Return no value for any response."""
    return [None for _ in completions]
