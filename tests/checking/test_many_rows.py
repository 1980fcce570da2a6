"""Batches of rows give the same results as single rows."""

import json

import pytest
from datasets import Dataset
from planting import encoded, painted
from transformers import AutoConfig, AutoProcessor

from vantage.checking.inspecting import Inspection, Looks
from vantage.checking.leakage import Key, Keys, repeats
from vantage.checking.parity import Model
from vantage.questions import loading
from vantage.questions.prompts import Prompts, has_images
from vantage.questions.reading import Reader, together
from vantage.training.trl.resolving import tokenizer_of

TALKS = [[{"role": "user", "content": text}] for text in ("Why?", "How?", "Who? " * 9, "Why?")]


@pytest.fixture
def model(tiny_model):
    processor = AutoProcessor.from_pretrained(tiny_model)
    return Model(processor, AutoConfig.from_pretrained(tiny_model), {}, tokenizer_of(processor))


@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": TALKS, "answer": ["1", "2", "3", "1"]},
        {"prompt": TALKS, "n": [1, None, 3, 4], "deep": [{"a": [1]}, {"a": []}, None, {"a": [2]}]},
        {"prompt": TALKS, "image": [encoded(painted(n)) for n in range(4)]},
    ],
    ids=["texts", "numbers", "pictures"],
)
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_rows_read_together_equal_rows_read_one_by_one(columns, order):
    rows = Dataset.from_dict(columns).select(order)
    assert list(together(rows, range(1, 4))) == [rows[place] for place in range(1, 4)]
    reader = Reader(rows)
    assert list(reader.part(range(1, 3))) == [reader[1], reader[2]]


def test_results_of_parts_equal_results_of_rows(model):
    prompts = Prompts(Reader(Dataset.from_dict({"prompt": TALKS, "answer": ["1", "2", "3", "4"]})))
    inspection = Inspection(prompts, model)
    parts = [
        Looks.of(inspection.part(part), range(10, 14)[part.start : part.stop])
        for part in (range(0, 3), range(3, 4))
    ]
    looks = Looks.joined(parts)
    assert looks.token_Q.tolist() == [inspection(row).tokens for row in range(4)]
    assert looks.token_Q[2] > looks.token_Q[0] > 0
    assert looks.row_Q.tolist() == [10, 11, 12, 13]
    assert repeats(looks.keys).contradicting == [(13, 10)]


def test_a_prompt_that_cannot_be_encoded_does_not_affect_its_batch(model):
    tokenize = model.tokenize.many

    def failing(prompts):
        if any("How" in str(prompt) for prompt in prompts):
            raise ValueError("no how")
        return tokenize(prompts)

    spoiled = Model(model.processor, model.config, {}, type(model.tokenize)(failing))
    prompts = Prompts(Reader(Dataset.from_dict({"prompt": TALKS})))
    problems = [look.problem for look in Inspection(prompts, spoiled).part(range(4))]
    assert problems == ["", "cannot be encoded: ValueError: no how", "", ""]


def test_hashes_that_end_with_zeros_stay_distinct():
    keys = [Key((), bytes([n, *15 * [0]]), bytes(16)) for n in (1, 2, 1, 0)]
    found = repeats(Keys.of(list(enumerate(keys))))
    assert found.same == [(2, 0)]
    assert found.contradicting == []


@pytest.mark.parametrize("last", ["Who?", [{"type": "text", "text": "Who?"}]])
def test_prompts_form_the_same_column_with_and_without_images(last, tmp_path, monkeypatch):
    """Text-only parts are kept in Arrow and others as lists, with the same result."""
    monkeypatch.setattr("vantage.questions.parallel.PART", 2)
    said = [[{"role": "user", "content": text}] for text in ("Why?", "How?", "Which?")]
    rows = [
        {"prompt": prompt, "answer": "1"} for prompt in [*said, [{"role": "user", "content": last}]]
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    read = loading.load(str(path), split="train")
    contents = [prompt[0]["content"] for prompt in read["prompt"]]
    if isinstance(last, str):
        assert contents == ["Why?", "How?", "Which?", "Who?"]
        assert read.features == Dataset.from_list([{"prompt": TALKS[0], "answer": "1"}]).features
    else:
        assert [content[0]["text"] for content in contents] == ["Why?", "How?", "Which?", "Who?"]


def test_rows_without_images_are_detected_by_column_types():
    assert not has_images(Dataset.from_dict({"prompt": TALKS}))
    assert not has_images(Dataset.from_dict({"prompt": ["Why?"]}))
    assert has_images(Dataset.from_dict({"prompt": TALKS[:1], "image": [encoded(painted(1))]}))
    part = {"type": "image", "image": encoded(painted(1))}
    talk = [{"role": "user", "content": [part, {"type": "text", "text": "Why?"}]}]
    assert has_images(Dataset.from_dict({"prompt": [talk]}))
