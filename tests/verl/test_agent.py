"""What the sampler is asked: placeholders as the chat template writes them, for every family."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import cpu_cluster  # noqa: F401, first: torchvision needs it
import families
import pytest
import stock
import transformers as hf
from omegaconf import OmegaConf
from PIL import Image
from tokenizers.processors import TemplateProcessing
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.workers.rollout.replica import TokenOutput
from verl.workers.rollout.utils import qwen2_5_vl_dedup_image_tokens

from vantage.errors import EngineError
from vantage.questions.pictures import Picture
from vantage.training.verl.agent import OneTurn, check_pictures
from vantage.training.verl.dataset import Questions


def marked(tokenizer):
    """The tokenizer with a first token before every text."""
    first = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, tokenizer.eos_token_id)]
    )
    return tokenizer


def llava_next_marked():
    model, processor = stock.llava_next()
    marked(processor.tokenizer)
    return model, processor


def lfm2():
    """Its tokenizer has a first token, which its processor leaves to the chat template."""
    tokenizer = marked(families.words("<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"))
    processor = hf.Lfm2VlProcessor(
        hf.Lfm2VlImageProcessor(do_image_splitting=False, min_image_tokens=4, max_image_tokens=8),
        tokenizer,
        chat_template=families.template("<image>"),
    )
    return SimpleNamespace(config=SimpleNamespace(model_type="lfm2_vl")), processor


# How the chat template writes a picture, and whether veRL prepares the family for the update.
TABLE = {
    "Qwen2-VL": (stock.qwen2_vl, "<|vision_start|><|image_pad|><|vision_end|>", True),
    "Qwen2.5-VL": (stock.qwen2_5_vl, "<|vision_start|><|image_pad|><|vision_end|>", True),
    "Qwen3-VL": (stock.qwen3_vl, "<|vision_start|><|image_pad|><|vision_end|>", True),
    "LLaVA-NeXT": (stock.llava_next, "<image>", True),
    "LLaVA-NeXT, first token": (llava_next_marked, "<image>", True),
    "LLaVA-OneVision": (stock.llava_onevision, "<image>", True),
    "LFM2-VL": (lfm2, "<image>", False),
    "InternVL": (stock.internvl, "<IMG_CONTEXT>", False),
    "Idefics3": (stock.idefics3, "<image>", False),
    "Gemma 3": (stock.gemma3, "<start_of_image>", False),
}
SIZES = ((56, 28), (28, 56))


class Servers:
    """In the place of veRL's: keeps what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, None

    async def generate(self, *, prompt_ids, image_data=None, **rest):
        self.asked, self.images = prompt_ids, image_data
        return TokenOutput(token_ids=self.answer, log_probs=[-1.0] * len(self.answer))


def turn(made, pictures):
    """What a sampler is asked and what is trained, for a prompt with so many pictures."""
    model, processor = made
    images = [Picture(Image.new("RGB", size, "red")) for size in SIZES[:pictures]]
    parts = [
        [{"type": "image", "image": image}, {"type": "text", "text": "sum"}] for image in images
    ]
    content = [*(part for pair in parts for part in pair), {"type": "text", "text": " of 1"}]
    rollout = {"name": "vllm", "prompt_length": 512, "response_length": 8}
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}})

    async def run():
        servers = Servers(processor.tokenizer("1 2", add_special_tokens=False)["input_ids"])
        loop = OneTurn(
            trainer_config=DictConfigWrap(config),
            server_manager=servers,
            tokenizer=processor.tokenizer,
            processor=processor,
            dataset_cls=Questions,
            data_config=DictConfigWrap(OmegaConf.create({})),
            hf_model_type=model.config.model_type,
        )
        messages = [{"role": "user", "content": content}]
        return servers, await loop.run({}, raw_prompt=messages)

    servers, output = asyncio.run(run())
    return servers, output, [image.open() for image in images]


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("pictures", [0, 1, 2])
def test_the_sampler_is_asked_as_the_chat_template_writes(name, pictures):
    make, placeholder, _ = TABLE[name]
    made = make()
    processor = made[1]
    servers, output, images = turn(made, pictures)
    text = f"<|user|>{(placeholder + 'sum') * pictures} of 1<|end|><|assistant|>"
    special = name != "LFM2-VL"
    assert servers.asked == processor.tokenizer(text, add_special_tokens=special)["input_ids"]
    # A sampler that expands what it was asked has what is trained.
    expanded = processor(text=[text], **({"images": images} if images else {}))["input_ids"][0]
    assert output.prompt_ids == list(expanded)
    assert (servers.asked != output.prompt_ids) == bool(pictures)
    assert len(servers.images or []) == pictures
    # Nor does veRL's own collapsing change it.
    assert qwen2_5_vl_dedup_image_tokens(servers.asked, processor) == servers.asked


@pytest.mark.parametrize("name", TABLE)
def test_a_family_whose_pictures_veRL_loses_is_refused_with_its_processor(name):
    make, _, prepared = TABLE[name]
    made = make()
    _, output, images = turn(made, 2)
    if prepared:
        check_pictures(made[1], output.prompt_ids, images)
    else:
        with pytest.raises(EngineError, match=rf"{type(made[1]).__name__}: veRL cannot prepare"):
            check_pictures(made[1], output.prompt_ids, images)
