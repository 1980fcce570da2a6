"""Prompts encode equally in generation and update: placeholders, special tokens, ids."""

import copy
import functools

import pytest
from families import FAMILIES, qwen2, qwen3
from planting import painted
from transformers import AutoConfig, AutoProcessor

from vantage.checking.inspecting import texts
from vantage.checking.parity import Model, of_model, placed, same_ids
from vantage.questions.pictures import Picture
from vantage.questions.schema import Question, read, render
from vantage.training.trl.resolving import tokenizer_of


@pytest.fixture
def model(tiny_model):
    processor = AutoProcessor.from_pretrained(tiny_model, padding_side="left")
    return Model(processor, AutoConfig.from_pretrained(tiny_model), {})


@functools.cache
def of_family(name: str) -> Model:
    made, processor = FAMILIES[name]()
    return Model(processor, made.config, {})


def asked(*numbers: int, text: str = "Add the digits.", size=(28, 56)):
    pictures = tuple(Picture(painted(number, size)) for number in numbers)
    return render(Question("<image>" * len(pictures) + text, pictures))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("pictures", [(), (1,), (1, 2)], ids=len)
def test_every_family_passes(name, pictures):
    model = of_family(name)
    assert of_model(model, with_images=True) == []
    prompt = asked(*pictures)
    ids = tokenizer_of(model.processor)(prompt)
    assert placed(model, prompt, ids) == ""
    assert same_ids(model, prompt, ids) == ""


@pytest.mark.parametrize("family", [qwen2, qwen3])
def test_a_text_model_encodes_the_question(family):
    made, tokenizer = family()
    model, prompt = Model(tokenizer, made.config, {}), asked(text="Add 3 + 4.")
    ids = tokenizer_of(tokenizer)(prompt)
    assert "Add 3 + 4." in model.text(prompt)
    assert "Add 3 + 4." in tokenizer.decode(ids)
    assert same_ids(model, prompt, ids) == ""


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("qwen2.5-vl", "<|image_pad|>"),
        ("gemma3", "<start_of_image>"),
        ("llava-next", "<image>"),
        ("idefics3", "<image>"),
    ],
)
def test_the_placeholder_is_taken_from_the_template(name, mark):
    assert of_family(name).mark == mark


def test_a_template_without_an_image_placeholder_is_reported(model):
    model.processor.chat_template = model.processor.chat_template.replace("<image>", "")
    assert model.mark is None
    assert ("error", "its chat template writes no placeholder for an image") in of_model(
        model, with_images=True
    )
    assert of_model(model, with_images=False) == []


def test_a_template_that_writes_a_placeholder_twice_is_reported(model):
    assert model.mark == "<image>"
    prompt = asked(1)
    model.processor.chat_template = model.processor.chat_template.replace("<image>", "<image>" * 2)
    problem = placed(model, prompt, [model.image_id])
    assert problem == "1 images, but the chat template writes '<image>' 2x"


def test_ids_without_image_tokens_are_reported(model):
    assert "no image token" in placed(model, asked(1), [1, 2, 3])
    assert "no image, but an image token" in placed(model, asked(), [model.image_id])


def test_ids_that_differ_from_the_text_are_reported(model):
    prompt = asked(1)
    ids = tokenizer_of(model.processor)(prompt)
    problem = same_ids(model, prompt, [*ids[:5], *ids[6:]])
    assert problem == (
        f"{len(ids) - 1} ids from the conversation but {len(ids)} from its text, "
        "different from token 5 on"
    )


def test_a_processor_of_another_model_is_reported(model):
    other = copy.deepcopy(model.config)
    other.image_token_id = model.image_id + 1
    words = [words for _, words in of_model(Model(model.processor, other, {}), with_images=True)]
    assert len(words) == 1
    assert "do not match" in words[0]
    fewer = copy.deepcopy(model.config)
    fewer.get_text_config().vocab_size = 50
    found = of_model(Model(model.processor, fewer, {}), with_images=True)
    assert [level for level, _ in found] == ["error"]
    assert "the model only 50" in found[0][1]


def test_padding_must_exist_and_be_on_the_left(model):
    model.tokenizer.padding_side = "right"
    assert "pad on the left" in of_model(model, with_images=False)[0][1]
    model.tokenizer.pad_token = None
    assert [level for level, _ in of_model(model, with_images=False)] == ["warning"]
    model.tokenizer.eos_token = None
    found = of_model(model, with_images=False)
    assert [level for level, _ in found] == ["error", "warning"]


@pytest.mark.parametrize(
    ("token", "grave"),
    [("<|image_pad|>", True), ("<|end|>", True), ("<pad>", True), ("<|user|>", False)],
)
def test_special_tokens_hidden_in_a_text_are_named(token, grave):
    model = of_family("qwen2.5-vl")
    assert model.hidden_in(["What?", f"Is {token} here? {token}"]) == (token,)
    assert model.grave(token) == grave
    assert model.hidden_in(["a <b> | pad < image_pad >"]) == ()


def test_image_placeholders_are_not_part_of_the_texts():
    def texts_of(text, **row):
        source = {"prompt": [{"role": "user", "content": text}], **row}
        return texts(read(source), source, "others")

    shown = {"image": Picture(painted(0)), "others": ["<image>How?"]}
    assert texts_of("<image>Why?", **shown) == ["Why?", "How?"]
    assert texts_of("Is <image> it?") == ["Is <image> it?"]
