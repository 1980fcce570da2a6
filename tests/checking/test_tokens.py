"""Prompt lengths, and the image size at which long prompts fit."""

import pytest
from datasets import Dataset
from families import qwen
from planting import painted
from transformers import AutoProcessor

from vantage.checking.inspecting import Inspection
from vantage.checking.parity import Model
from vantage.checking.tokens import Fitting, lengths, remedy
from vantage.demo import model as demo
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import Prompts
from vantage.questions.reading import Reader
from vantage.questions.schema import render
from vantage.questions.variants import Variants
from vantage.training.trl.resolving import tokenizer_of


def rows_of(*rows) -> Dataset:
    """Make rows from (text, images) pairs."""
    return Dataset.from_list(
        [{"prompt": [{"role": "user", "content": text}], "images": images} for text, images in rows]
    ).with_format(None)


@pytest.fixture(scope="module")
def qwen_processor():
    return qwen()[1]


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_the_tiny_llava_has_one_token_per_digit_cell(digits):
    processor = demo.processor(digits)
    prompts = Prompts(Reader(rows_of(("Add.", [painted(1, (90, 30))]))))
    tokenize = tokenizer_of(processor)
    ids = tokenize(render(prompts.longest(prompts.rows[0])))
    assert ids.count(processor.image_token_id) == digits * digits
    # <|user|>, the cells, "Add", ".", <|end|>, <|assistant|>
    assert len(ids) == 1 + digits * digits + 2 + 1 + 1


@pytest.mark.parametrize(
    ("size", "tokens"), [((14, 14), 1), ((56, 28), 8), ((28, 42), 6), ((560, 560), 16)]
)
def test_the_tiny_qwen_has_one_token_per_patch(qwen_processor, size, tokens):
    """Patches of 14 pixels, at most 56 x 56 pixels."""
    tokenize = tokenizer_of(qwen_processor)
    prompts = Prompts(Reader(rows_of(("Add.", [painted(1, size)]))))
    ids = tokenize(render(prompts.longest(prompts.rows[0])))
    assert ids.count(qwen_processor.image_token_id) == tokens


def test_lengths_and_longest_prompts_equal_those_of_the_trainer(tiny_model, digit_rows, tmp_path):
    from vantage.rewards import accuracy
    from vantage.training.trl import VantageConfig, VantageTrainer

    variants = {
        "prompts": 2,
        "rewrites": "new_questions",
        "transforms": {"names": ["clockwise", "noise-25"]},
    }
    args = VantageConfig(
        str(tmp_path),
        variants=variants,
        prompt_template="{question} Think.",
        system_prompt="You are a helpful assistant.",
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=8,
        num_generations=4,
    )
    rows = digit_rows.select(range(4))
    trainer = VantageTrainer(tiny_model, accuracy, args, rows)
    prompts = Prompts(
        Reader(rows), Variants.model_validate(variants), args.prompt_template, args.system_prompt
    )
    processor = AutoProcessor.from_pretrained(tiny_model)
    model = Model(processor, trainer.model.config, {}, tokenizer_of(processor))
    look = Inspection(prompts, model)
    for row in range(len(rows)):
        encoding = trainer._encoder.encode(render(prompts.longest(prompts.rows[row])))
        found = look(row)
        assert found.tokens == len(encoding.ids)
        assert found.image_tokens == encoding.ids.count(processor.image_token_id) == 4
        assert not found.problem


def test_the_longest_prompt_has_the_longest_wording_and_note(tiny_model):
    rows = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": "Add."}],
                "images": [painted(1)],
                "other": ["Add the digits that you see.", "Add"],
            }
        ]
    )
    tokenize = tokenizer_of(AutoProcessor.from_pretrained(tiny_model))
    measured = []
    for variants in (
        Variants(),
        Variants(rewrites="other", prompts=2),
        Variants.model_validate(
            {"rewrites": "other", "prompts": 2, "transforms": {"names": ["clockwise"]}}
        ),
    ):
        prompts = Prompts(Reader(rows), variants)
        measured.append(len(tokenize(render(prompts.longest(prompts.rows[0])))))
    assert measured[0] == 9
    assert measured[1] == 9 + 5
    assert measured[2] > measured[1] + 10


def test_quantiles_and_histogram_cover_every_row():
    found = lengths([5, 1, 9, 100, 9], [10, 11, 12, 13, 14])
    assert (found.least, found.median, found.most, found.longest) == (1, 9, 100, 13)
    assert found.p95 == pytest.approx(81.8)
    assert sum(found.counts) == 5
    assert found.edges[0] == 1
    assert found.edges[-1] > 100
    assert len(found.counts) <= 12
    assert lengths([7, 7], [0, 1]).counts == [2]


def test_the_bound_fits_and_one_pixel_more_does_not(qwen_processor):
    rows = rows_of(
        ("Add.", [painted(1, (56, 56))]),
        ("Add the digits that you see.", [painted(2, (56, 56))]),
        ("Add the digits that you see.", [painted(3, (42, 70))]),
    )
    prompts = Prompts(Reader(rows))
    tokenize = tokenizer_of(qwen_processor)
    fitting = Fitting(prompts, tokenize, 22)
    sizes = [len(tokenize(render(prompts.longest(prompts.rows[row])))) for row in range(3)]
    assert min(sizes) > 22 - 1
    long = [(row, size) for row, size in enumerate(sizes) if size > 22]
    found = remedy(fitting, long, [7, 8, 9])
    assert not found.hopeless
    assert {row for row, _ in found.rows} <= {7, 8, 9}
    bound = found.max_pixels
    assert all(fitting(row, bound) for row, _ in long)
    assert not all(fitting(row, bound + 1) for row, _ in long)


def test_a_row_with_too_long_text_does_not_hide_the_others(qwen_processor):
    rows = rows_of(
        ("Add the digits that you see. " * 9, [painted(1, (56, 56))]),
        ("Add.", [painted(2, (56, 56))]),
    )
    prompts = Prompts(Reader(rows), bounds=Bounds(None, 56 * 56))
    fitting = Fitting(prompts, tokenizer_of(qwen_processor), 16)
    found = remedy(fitting, [(0, 90), (1, 24)])
    assert found.hopeless == [0]
    assert fitting(1, found.max_pixels)
    assert not fitting(1, found.max_pixels + 1)
