"""The tiny vision-language model of the demo: LLaVA (CLIP, Llama) with a word-level tokenizer.

A saved model loads with AutoModelForImageTextToText and AutoProcessor like any other, and needs
neither torchvision nor this package.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from vantage.demo import digits
from vantage.questions.transforms import TRANSFORMS

PAD, UNKNOWN, END, USER, ASSISTANT, SYSTEM, IMAGE = SPECIAL = (
    "<pad>",
    "<unk>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<image>",
)

# A word includes the space before it, so decoding joins words without changes. <think> and
# \boxed{ are single words.
WORD = r" ?</?think>| ?\\boxed\{| ?[A-Za-z]+| ?[^A-Za-z\s]|\s"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build(directory: str | Path, *, seed: int, k: int = 2) -> Path:
    """Write an untrained model for images of k digits, and its processor, to the directory."""
    directory = Path(directory)
    reader = processor(k)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(configuration(reader.tokenizer, k))
    model.generation_config = GenerationConfig(
        eos_token_id=reader.tokenizer.eos_token_id, pad_token_id=reader.tokenizer.pad_token_id
    )
    model.save_pretrained(directory)
    reader.save_pretrained(directory)
    return directory


def sentences() -> list[str]:
    """Return texts with all words of the vocabulary; any other word becomes <unk>."""
    return [
        *digits.WORDINGS,
        *(note for transform in TRANSFORMS.values() for note in transform.wordings()),
        "First think about the problem inside <think> </think> tags, "
        "then put the final answer in \\boxed{}.",
        "You are a helpful assistant. Answer the question about the image.",
        "0123456789+-*/=()[]{}.,:;!?'\"%$&#@^_~|\\<>\n",
    ]


def vocabulary(texts: list[str]) -> list[str]:
    """Return the special tokens and every word of the texts, with and without a leading space."""
    splitter = pre_tokenizers.Split(Regex(WORD), "isolated")
    words = {word.strip(" ") for text in texts for word, _ in splitter.pre_tokenize_str(text)} - {
        ""
    }
    return [*SPECIAL, " ", *(space + word for word in sorted(words) for space in ("", " "))]


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer of the words in texts; it pads on the left."""
    words = vocabulary(texts)
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM, IMAGE],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        chat_template=CHAT_TEMPLATE,
    )


def processor(k: int) -> LlavaProcessor:
    """Build the processor for images of k digits, with one patch per digit cell."""
    side = {"height": digits.CELL * k, "width": digits.CELL * k}
    pictures = CLIPImageProcessorPil(
        size=side, crop_size=side, do_center_crop=False, image_mean=[0.1] * 3, image_std=[0.3] * 3
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer(sentences()),
        patch_size=digits.CELL,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which "default" drops again
        chat_template=CHAT_TEMPLATE,
    )


def configuration(words: PreTrainedTokenizerFast, k: int) -> LlavaConfig:
    """Return the configuration of the model for images of k digits."""
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=digits.CELL * k,
        patch_size=digits.CELL,
        projection_dim=96,
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=0.05,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        tie_word_embeddings=True,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.convert_tokens_to_ids(IMAGE),
        image_seq_length=k * k,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
