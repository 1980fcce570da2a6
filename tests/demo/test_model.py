"""The tiny model loads like any other; tokenizing and padding change nothing."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.demo import digits, model
from vantage.questions.transforms import TRANSFORMS

# A program with transformers alone, where neither vantage nor torchvision can be imported.
ALONE = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torchvision" else find(name, *rest)
class Refuse:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("vantage", "torchvision"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, ProcessorMixin
processor = AutoProcessor.from_pretrained(sys.argv[1])
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])
assert isinstance(processor, ProcessorMixin), type(processor)
content = [{"type": "image"}, {"type": "text", "text": "Add the digits."}]
chat = [{"role": "user", "content": content}]
text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
inputs = processor(images=Image.new("RGB", (28, 28)), text=text, return_tensors="pt")
out = model.generate(**inputs, max_new_tokens=4, do_sample=True)
assert inputs["input_ids"].shape[1] < out.shape[1] <= inputs["input_ids"].shape[1] + 4
assert not {"vantage", "torchvision"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def processor(tiny_model):
    return AutoProcessor.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def tokenizer(processor):
    return processor.tokenizer


@pytest.fixture(scope="module")
def network(tiny_model):
    return AutoModelForImageTextToText.from_pretrained(tiny_model).eval()


def prompt(processor, text: str) -> str:
    content = [{"type": "image"}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )


def test_loads_with_the_auto_classes_without_vantage_or_torchvision(tiny_model):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tiny_model], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_number_of_parameters(network):
    assert 200_000 < sum(weights.numel() for weights in network.parameters()) < 600_000


def test_the_seed_determines_the_weights(tmp_path, network):
    state = torch.get_rng_state()
    for seed, same in ((0, True), (1, False)):
        built = AutoModelForImageTextToText.from_pretrained(model.build(tmp_path, seed=seed))
        pairs = zip(built.state_dict().values(), network.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) is same
    assert torch.equal(state, torch.get_rng_state())


TEXTS = [
    *model.sentences(),
    *(digits.solution((a, b)) for a in (0, 9) for b in (1, 7)),
    "<think>3 + 8 = 11</think>\\boxed{11}",
    "<think> 3+8 </think> \\boxed{ 11 }",
    " Add  the digits \n\n   in the image\n",
    *(f"{t.wordings()[0]} {digits.WORDINGS[0]}" for t in TRANSFORMS.values()),
]


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_restores_the_text(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.unk_token_id not in ids


def test_think_tags_and_box_are_ordinary_single_tokens(tokenizer):
    ids = tokenizer("<think>4 + 5</think>\\boxed{9}")["input_ids"]
    pieces = ["<think>", "4", " +", " 5", "</think>", "\\boxed{", "9", "}"]
    assert tokenizer.convert_ids_to_tokens(ids) == pieces
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_an_unknown_word_becomes_unk(tokenizer):
    ids = tokenizer("Add the hieroglyphs.")["input_ids"]
    assert ids.count(tokenizer.unk_token_id) == 1
    assert tokenizer.decode(ids) == "Add the<unk>."


def test_special_tokens_are_distinct_and_end_turns(tokenizer, network):
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3
    assert network.generation_config.eos_token_id == tokenizer.eos_token_id
    assert network.generation_config.pad_token_id == tokenizer.pad_token_id
    ended = tokenizer("\\boxed{9}" + tokenizer.eos_token)["input_ids"]
    assert ended[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ended, skip_special_tokens=True) == "\\boxed{9}"


def test_the_chat_template(processor):
    assert prompt(processor, "Sum it.") == "<|user|><image>Sum it.<|end|><|assistant|>"
    chat = [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": "Sum it."},
        {"role": "assistant", "content": [{"type": "text", "text": "\\boxed{1}"}]},
    ]
    closed = "<|system|>Think.<|end|><|user|>Sum it.<|end|><|assistant|>\\boxed{1}<|end|>"
    assert processor.apply_chat_template(chat, tokenize=False) == closed
    assert processor.tokenizer.apply_chat_template(chat, tokenize=False) == closed


def test_every_cell_is_one_token(processor):
    image = digits.picture([0, 1])
    ids = processor(images=image, text=prompt(processor, "Sum it."))["input_ids"][0]
    assert ids.count(processor.image_token_id) == 4


def test_an_image_of_another_size_is_resized(processor):
    small = digits.picture([0, 1])
    pixels = processor.image_processor(images=[small, small.resize((56, 56))], return_tensors="pt")
    assert pixels["pixel_values"].shape == (2, 3, 28, 28)


def test_left_padding_does_not_change_logits(processor, network):
    images = [[digits.picture([0, 1])], [digits.picture([2, 3])]]
    note = TRANSFORMS["upside-down"].wordings()[0]
    texts = [prompt(processor, text) for text in ("Sum it.", f"{note} {digits.WORDINGS[0]}")]
    batch = processor(images=images, text=texts, padding=True, return_tensors="pt")
    alone = processor(images=images[0], text=texts[0], return_tensors="pt")
    assert batch["attention_mask"][0, 0] == 0
    with torch.no_grad():
        padded = network(**batch).logits[0, -1]
        single = network(**alone).logits[0, -1]
    torch.testing.assert_close(padded, single, atol=1e-5, rtol=1e-4)


def test_logits_depend_on_the_image(processor, network):
    text = prompt(processor, "Sum it.")
    with torch.no_grad():
        one, other = (
            network(**processor(images=digits.picture(k), text=text, return_tensors="pt")).logits
            for k in ([0, 1], [2, 3])
        )
    assert (one - other).abs().max() > 1e-3


def test_three_digits(tmp_path):
    directory = model.build(tmp_path, seed=0, k=3)
    processor = AutoProcessor.from_pretrained(directory)
    network = AutoModelForImageTextToText.from_pretrained(directory)
    text = prompt(processor, "Sum it.")
    inputs = processor(images=digits.picture([0, 1, 2]), text=text, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 42, 42)
    assert network(**inputs).logits.isfinite().all()
