"""Answers of a model are in the order of the rows, without side effects."""

import random

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.demo import digits
from vantage.errors import ConfigError, InputError
from vantage.evaluation.generation import answer, right_answers

PICTURES = [digits.picture([number, number + 1]) for number in range(3)]


@pytest.fixture(scope="module")
def network(tiny_model):
    return AutoModelForImageTextToText.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def processor(tiny_model):
    return AutoProcessor.from_pretrained(tiny_model)


def asked(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def mixed() -> Dataset:
    """Rows that alternate between 1, 0, 2 and 0 images."""
    images = [[PICTURES[0]], [], [PICTURES[1], PICTURES[2]], []] * 2
    texts = [f"Add {number} + {len(row)}." for number, row in enumerate(images)]
    message = {"role": Value("string"), "content": Value("string")}
    features = Features(
        {"prompt": List(message), "images": List(Image()), "answer": Value("string")}
    )
    columns = {"prompt": [asked(text) for text in texts], "images": images}
    return Dataset.from_dict(columns | {"answer": list("01234567")}, features=features)


class Echo:
    """A fake model that answers with the prompt itself."""

    training = True
    device = torch.device("cpu")
    dtype = torch.float32

    def eval(self):
        self.train(False)

    def train(self, mode):
        self.training = mode

    def generate(self, input_ids, **_):
        return torch.cat([input_ids, input_ids], dim=1)


@pytest.mark.parametrize("batch", [1, 2, 3, 50])
@pytest.mark.parametrize("samples", [1, 2])
def test_answers_are_in_the_order_of_the_rows(processor, batch, samples):
    rows = mixed()
    texts = answer(Echo(), processor, rows, batch=batch, samples=samples, progress=False)
    for row, answers in zip(rows, texts, strict=True):
        assert answers == [row["prompt"][0]["content"]] * samples


def test_template_and_system_prompt_surround_the_question(processor):
    options = {
        "template": "Answer {question}!",
        "system_prompt": "Find the sum.",
        "progress": False,
    }
    texts = answer(Echo(), processor, mixed(), **options)
    assert texts[0] == ["Find the sum.Answer Add 0 + 1.!"]


def test_an_instruction_may_precede_the_images(processor):
    options = {"template": "Add.<image> {question}", "progress": False}
    texts = answer(Echo(), processor, mixed(), **options)
    for row, (said,) in zip(mixed(), texts, strict=True):
        gap = " " if row["images"] else ""
        assert said == f"Add.{gap}{row['prompt'][0]['content']}"
    with pytest.raises(ConfigError, match=r"template=.Sum\.. does not contain \{question\}"):
        answer(Echo(), processor, mixed(), template="Sum.")


def test_a_plain_string_is_asked_unchanged(processor):
    rows = Dataset.from_dict({"prompt": ["Add 3 + 4.", "Add 5."]})
    assert answer(Echo(), processor, rows, progress=False) == [["Add 3 + 4."], ["Add 5."]]


def test_answers_include_the_tag_opened_by_the_chat_template(tiny_model):
    opening = AutoProcessor.from_pretrained(tiny_model)
    opening.chat_template = opening.chat_template.replace(
        "<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}"
    )
    texts = answer(Echo(), opening, mixed(), samples=2, progress=False)
    assert all(text.startswith("<think>Add") for row in texts for text in row)
    plain = Dataset.from_dict({"prompt": ["Add 3 + 4.", "Add 5. <think>\n"]})
    (first,), (second,) = answer(Echo(), opening, plain, progress=False)
    assert first == "Add 3 + 4." and second.startswith("<think>\n")


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_random_state_are_restored(network, processor, training):
    network.train(training)
    random.seed(1)
    torch.manual_seed(7)
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    answer(network, processor, mixed(), max_tokens=2, progress=False)
    assert network.training is training
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]


def test_the_seed_determines_the_answers(network, processor):
    options = {"max_tokens": 5, "samples": 2, "progress": False}
    first, again, other = (
        answer(network, processor, mixed(), seed=seed, **options) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_a_row_that_cannot_be_asked_raises(processor):
    rows = Dataset.from_dict({"prompt": [asked("Add 3."), asked("<image> Add 3.")]})
    with pytest.raises(InputError, match="<image>"):
        answer(Echo(), processor, rows, progress=False)


def test_right_answers_are_counted_for_each_row():
    rows = Dataset.from_dict({"prompt": ["a", "b"], "answer": ["1", "2"], "hint": ["x", "y"]})
    seen = []

    def reward(completions, prompt, answer, hint):
        seen.extend(zip(completions, prompt, answer, hint, strict=True))
        return [
            0.9 * (text == truth) + 0.1 for text, truth in zip(completions, answer, strict=True)
        ]

    assert right_answers([["1", "2", "1"], ["1", "3", "2"]], rows, reward).tolist() == [2, 1]
    assert seen[0] == ("1", "a", "1", "x")
    assert seen[-1] == ("2", "b", "2", "y")
