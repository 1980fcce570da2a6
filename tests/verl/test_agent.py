"""Tests that the sampler receives one placeholder per image, for each model family."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import cpu_cluster  # noqa: F401, imported first because torchvision needs it
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


def with_first_token(tokenizer):
    """Make the tokenizer add a token before every text."""
    first = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, tokenizer.eos_token_id)]
    )
    return tokenizer


def llava_next_with_first_token():
    model, processor = stock.llava_next()
    with_first_token(processor.tokenizer)
    return model, processor


def lfm2():
    """A processor that does not add its tokenizer's first token; the chat template does."""
    tokenizer = with_first_token(
        families.words("<|image_start|>", "<|image_end|>", "<|img_thumbnail|>")
    )
    processor = hf.Lfm2VlProcessor(
        hf.Lfm2VlImageProcessor(do_image_splitting=False, min_image_tokens=4, max_image_tokens=8),
        tokenizer,
        chat_template=families.template("<image>"),
    )
    return SimpleNamespace(config=SimpleNamespace(model_type="lfm2_vl")), processor


# Family: processor, the image in the chat template, whether veRL prepares images for the update.
TABLE = {
    "Qwen2-VL": (stock.qwen2_vl, "<|vision_start|><|image_pad|><|vision_end|>", True),
    "Qwen2.5-VL": (stock.qwen2_5_vl, "<|vision_start|><|image_pad|><|vision_end|>", True),
    "Qwen3-VL": (stock.qwen3_vl, "<|vision_start|><|image_pad|><|vision_end|>", True),
    "LLaVA-NeXT": (stock.llava_next, "<image>", True),
    "LLaVA-NeXT, first token": (llava_next_with_first_token, "<image>", True),
    "LLaVA-OneVision": (stock.llava_onevision, "<image>", True),
    "LFM2-VL": (lfm2, "<image>", False),
    "InternVL": (stock.internvl, "<IMG_CONTEXT>", False),
    "Idefics3": (stock.idefics3, "<image>", False),
    "Gemma 3": (stock.gemma3, "<start_of_image>", False),
}
SIZES = ((56, 28), (28, 56))


class Servers:
    """Stands in for veRL's servers, and keeps the request."""

    def __init__(self, answer):
        self.answer, self.asked = answer, None

    async def generate(self, *, prompt_ids, image_data=None, **rest):
        self.asked, self.images = prompt_ids, image_data
        return TokenOutput(token_ids=self.answer, log_probs=[-1.0] * len(self.answer))


def turn(family, pictures):
    """Run one turn with `pictures` images; returns the servers, the output and the images."""
    model, processor = family
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
def test_the_sampler_receives_the_prompt_of_the_chat_template(name, pictures):
    make, placeholder, _ = TABLE[name]
    family = make()
    processor = family[1]
    servers, output, images = turn(family, pictures)
    text = f"<|user|>{(placeholder + 'sum') * pictures} of 1<|end|><|assistant|>"
    special = name != "LFM2-VL"
    assert servers.asked == processor.tokenizer(text, add_special_tokens=special)["input_ids"]
    # The request, expanded by the sampler, equals the prompt that is trained on.
    expanded = processor(text=[text], **({"images": images} if images else {}))["input_ids"][0]
    assert output.prompt_ids == list(expanded)
    assert (servers.asked != output.prompt_ids) == bool(pictures)
    assert len(servers.images or []) == pictures
    # veRL's own collapsing does not change the request.
    assert qwen2_5_vl_dedup_image_tokens(servers.asked, processor) == servers.asked


@pytest.mark.parametrize("name", TABLE)
def test_a_family_whose_images_veRL_cannot_prepare_is_an_error(name):
    make, _, is_prepared = TABLE[name]
    family = make()
    processor = family[1]
    _, output, images = turn(family, 2)
    if is_prepared:
        check_pictures(processor, output.prompt_ids, images)
    else:
        with pytest.raises(EngineError, match=rf"{type(processor).__name__}: veRL cannot prepare"):
            check_pictures(processor, output.prompt_ids, images)
