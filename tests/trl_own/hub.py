"""Tiny stand-ins for the models and data sets that TRL's tests fetch from its hub.

Written to `DIRECTORY/trl-internal-testing/NAME`: a test that runs in the directory finds the
local folder under the name of the hub, and needs no network. Weights are random.
"""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import families
import numpy as np
import stock
import torch
import transformers as hf
from datasets import Dataset, Features, Image, List, Value, disable_progress_bars
from PIL import Image as Pictures
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

ORGANISATION = "trl-internal-testing"
QWEN = "tiny-Qwen2ForCausalLM-2.5"
# Ids of Qwen's own tokenizer, which a few tests have written out.
QWEN_PAD, QWEN_END = 151643, 151645
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 8,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.1,
}
REMOTE = """\
from transformers import LlamaConfig, LlamaForCausalLM


class RemoteConfig(LlamaConfig):
    model_type = "remote"


class RemoteForCausalLM(LlamaForCausalLM):
    config_class = RemoteConfig
"""

# How many words of the lines of the Zen of Python make a question. One test wants two batches of
# six; more would make every test longer.
ASKED = (4, 2, 3, 1, 4, 3, 1, 4, 3, 3, 2, 6, 6, 11)
TEST_ROWS = 2


def words(size: int = 1000, **special: str) -> hf.PreTrainedTokenizerFast:
    """A tokenizer of bytes whose other ids below `size` are made-up words that it never reads."""
    vocabulary = {letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}
    vocabulary |= {f"Ġw{place}": place for place in range(len(vocabulary), size)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    named = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"} | special
    core.add_special_tokens([named["pad_token"], "<|im_start|>", named["eos_token"]])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core, padding_side="left", chat_template=CHAT, **named
    )


def text_model(kind: type, configuration: type, tokenizer, **more) -> torch.nn.Module:
    """An untrained model whose every token is as likely as any other."""
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = configuration(
        **{**TEXT, "vocab_size": len(tokenizer), "bos_token_id": None, **ends, **more}
    )
    torch.manual_seed(0)
    model = kind(config)
    for weights in model.parameters():
        if weights.ndim > 1 and not weights.any():
            torch.nn.init.normal_(weights, std=0.1)
    if model.can_generate():
        model.generation_config = hf.GenerationConfig(**ends)
    return model


def text_models() -> Iterator[tuple[str, torch.nn.Module, hf.PreTrainedTokenizerFast]]:
    """Models without images: their name, the model, its tokenizer."""
    experts = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
    small = words()
    yield QWEN, text_model(hf.Qwen2ForCausalLM, hf.Qwen2Config, small), small
    yield "tiny-Qwen3ForCausalLM", text_model(hf.Qwen3ForCausalLM, hf.Qwen3Config, small), small
    yield (
        "tiny-Qwen3MoeForCausalLM",
        text_model(hf.Qwen3MoeForCausalLM, hf.Qwen3MoeConfig, small, num_experts=4, **experts),
        small,
    )
    yield "tiny-LlamaForCausalLM-3.2", text_model(hf.LlamaForCausalLM, hf.LlamaConfig, small), small
    yield (
        "tiny-Gemma2ForCausalLM",
        text_model(hf.Gemma2ForCausalLM, hf.Gemma2Config, small),
        small,
    )
    yield (
        "tiny-Cohere2ForCausalLM",
        text_model(hf.Cohere2ForCausalLM, hf.Cohere2Config, small, logit_scale=1.0),
        small,
    )
    yield (
        "tiny-Glm4MoeForCausalLM",
        text_model(hf.Glm4MoeForCausalLM, hf.Glm4MoeConfig, small, n_routed_experts=4, **experts),
        small,
    )
    yield (
        "tiny-GptOssForCausalLM",
        text_model(
            hf.GptOssForCausalLM,
            hf.GptOssConfig,
            small,
            num_local_experts=4,
            num_experts_per_tok=2,
        ),
        small,
    )
    yield (
        "tiny-NemotronHForCausalLM-nano",
        text_model(
            hf.NemotronHForCausalLM,
            hf.NemotronHConfig,
            small,
            hidden_size=16,
            layers_block_type=["mamba", "attention", "moe"],
            mamba_num_heads=8,
            mamba_head_dim=4,
            mamba_n_groups=1,
            ssm_state_size=16,
            mamba_d_conv=4,
            n_routed_experts=4,
            moe_shared_expert_intermediate_size=32,
            **experts,
        ),
        small,
    )


def reward_models() -> Iterator[tuple[str, torch.nn.Module, hf.PreTrainedTokenizerFast]]:
    """Models that score a text: their name, the model, its tokenizer."""
    small, llama = words(), words(pad_token="<|finetune_right_pad_id|>")
    kinds = (
        (
            "tiny-Qwen2ForSequenceClassification-2.5",
            hf.Qwen2ForSequenceClassification,
            hf.Qwen2Config,
            small,
        ),
        (
            "tiny-Qwen3ForSequenceClassification",
            hf.Qwen3ForSequenceClassification,
            hf.Qwen3Config,
            small,
        ),
        (
            "tiny-LlamaForSequenceClassification-3.2",
            hf.LlamaForSequenceClassification,
            hf.LlamaConfig,
            llama,
        ),
    )
    for name, kind, configuration, tokenizer in kinds:
        yield name, text_model(kind, configuration, tokenizer, num_labels=1), tokenizer


def gemma3():
    """As the real ones it has no head over its vision tower, which nothing would train."""
    model, processor = stock.gemma3()
    model.config.vision_config.vision_use_head = False
    return families.untrained(type(model), model.config, processor.tokenizer), processor


def llava_next():
    """As the real ones it reads the layer before the last of its vision tower."""
    model, processor = stock.llava_next()
    model.config.vision_feature_layer = -2
    return model, processor


VISION_MODELS: dict[str, Callable] = {
    "tiny-Gemma3ForConditionalGeneration": gemma3,
    "tiny-Gemma4ForConditionalGeneration": stock.gemma4_small,
    "tiny-LlavaNextForConditionalGeneration": llava_next,
    "tiny-Qwen2_5_VLForConditionalGeneration": stock.qwen2_5_vl,
    "tiny-Qwen2VLForConditionalGeneration": stock.qwen2_vl,
    "tiny-Qwen3_5ForConditionalGeneration-NoThink": stock.qwen3_5,
    "tiny-Qwen3_5MoeForConditionalGeneration-3.6": stock.qwen3_5_moe,
}


def write_remote(folder: Path) -> None:
    """A model whose code lies beside its weights."""
    tokenizer = words()
    model = text_model(hf.LlamaForCausalLM, hf.LlamaConfig, tokenizer)
    model.config.auto_map = {
        "AutoConfig": "remote.RemoteConfig",
        "AutoModelForCausalLM": "remote.RemoteForCausalLM",
    }
    save(folder, model, tokenizer)
    config = folder / "config.json"
    named = config.read_text().replace('"llama"', '"remote"')
    config.write_text(named.replace('"LlamaForCausalLM"', '"RemoteForCausalLM"'))
    (folder / "remote.py").write_text(REMOTE)


def questions() -> list[str]:
    """Beginnings of the lines of the Zen of Python."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    lines = codecs.decode(this.s, "rot13").splitlines()[2:]
    return [" ".join(line.split()[:count]) for line, count in zip(lines, ASKED, strict=False)]


def data_sets() -> Iterator[tuple[str, str, Dataset]]:
    """Name, configuration and all rows of each data set."""
    texts = questions()
    turns = [[{"role": "user", "content": text}] for text in texts]
    yield "zen", "standard_prompt_only", Dataset.from_dict({"prompt": texts})
    yield "zen", "conversational_prompt_only", Dataset.from_dict({"prompt": turns})
    rng = np.random.default_rng(0)
    pictures = [
        Pictures.fromarray(rng.integers(0, 256, (*sides, 3), dtype=np.uint8))
        for sides in rng.integers(32, 64, (len(texts), 2))
    ]
    turn = {"role": Value("string"), "content": Value("string")}
    yield (
        "zen-image",
        "conversational_prompt_only",
        Dataset.from_dict(
            {"prompt": turns, "image": pictures}, Features(prompt=List(turn), image=Image())
        ),
    )
    counts = [number % 4 for number in range(len(texts))]
    parts = [
        [{"type": "image", "text": None}] * count + [{"type": "text", "text": text}]
        for text, count in zip(texts, counts, strict=True)
    ]
    part = List({"type": Value("string"), "text": Value("string")})
    yield (
        "zen-multi-image",
        "conversational_prompt_only",
        Dataset.from_dict(
            {
                "prompt": [[{"role": "user", "content": content}] for content in parts],
                "images": [pictures[:count] for count in counts],
            },
            Features(prompt=List({"role": Value("string"), "content": part}), images=List(Image())),
        ),
    )


def write_data(hub: Path) -> None:
    """The data sets as Parquet, each folder with the list of its configurations."""
    heads: dict[str, list[str]] = {}
    for name, configuration, rows in data_sets():
        head = heads.setdefault(name, ["---", "configs:"])
        head += [f"- config_name: {configuration}", "  data_files:"]
        cut = len(rows) - TEST_ROWS
        for split, part in (("train", range(cut)), ("test", range(cut, len(rows)))):
            place = f"{configuration}/{split}.parquet"
            head += [f"  - split: {split}", f"    path: {place}"]
            (hub / name / place).parent.mkdir(parents=True, exist_ok=True)
            rows.select(part).to_parquet(hub / name / place)
    for name, head in heads.items():
        (hub / name / "README.md").write_text("\n".join([*head, "---", ""]))


def save(folder: Path, model, reader) -> None:
    """A model and its tokenizer or processor."""
    model.save_pretrained(folder)
    reader.save_pretrained(folder)


def write(directory: Path) -> None:
    """All stand-ins, unless they are there: in `small`, and in `large` with Qwen's own ids.

    Tests run in one of the two. Scoring 151,646 tokens takes most of the time of a test, so
    `large` is for those that name the ids.
    """
    small, large = directory / "small" / ORGANISATION, directory / "large" / ORGANISATION
    if large.exists():
        return
    hf.utils.logging.disable_progress_bar()
    disable_progress_bars()
    for name, model, tokenizer in [*text_models(), *reward_models()]:
        save(small / name, model, tokenizer)
    for name, build in VISION_MODELS.items():
        save(small / name, *build())
    write_remote(small / "tiny-RemoteForCausalLM")
    write_data(small)
    large.mkdir(parents=True)
    tokenizer = words(QWEN_PAD)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (QWEN_PAD, QWEN_END)
    save(large / QWEN, text_model(hf.Qwen2ForCausalLM, hf.Qwen2Config, tokenizer), tokenizer)
    for folder in small.iterdir():
        if folder.name != QWEN:
            (large / folder.name).symlink_to(folder.resolve())
