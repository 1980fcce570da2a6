"""Several prompts of a question: the original first, the others drawn, all of them answerable."""

import numpy as np
import pytest
from PIL import Image

from vantage.questions.schema import Question
from vantage.questions.transforms import TRANSFORMS
from vantage.questions.variants import Variants

PICTURE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
QUESTION = Question("<image>How many?", (PICTURE,))
REWRITES = ["Count them.", "What is their number?", "Give the count."]
ALL = tuple(TRANSFORMS)


def expand(variants: Variants, question=QUESTION, rewrites=REWRITES, key=0) -> list[Question]:
    return variants.expand(question, rewrites, np.random.default_rng([7, key]))


def pixels(question: Question) -> list[bytes]:
    return [image.tobytes() for image in question.images]


@pytest.mark.parametrize(
    "variants",
    [
        Variants(),
        Variants(count=2, rewrites="other"),
        Variants(count=4, rewrites="other", transforms=ALL, probability=1.0),
        Variants(count=3, transforms=ALL),
    ],
    ids=str,
)
def test_the_first_prompt_is_the_original_and_there_are_as_many_as_asked(variants):
    for key in range(10):
        prompts = expand(variants, key=key)
        assert len(prompts) == variants.count
        assert prompts[0] is QUESTION


def test_the_same_key_makes_the_same_prompts_and_another_key_others():
    variants = Variants(count=4, rewrites="other", transforms=ALL, probability=1.0)
    again = [[(p.text, pixels(p)) for p in expand(variants, key=key)] for key in (3, 3, 4)]
    assert again[0] == again[1]
    assert again[0] != again[2]


def test_rewrites_are_drawn_without_repeats_until_they_run_out():
    texts = [p.text for p in expand(Variants(count=4, rewrites="other"))]
    assert sorted(texts[1:]) == sorted("<image>" + text for text in REWRITES)


def test_every_rewrite_is_drawn_about_equally_often():
    variants = Variants(count=2, rewrites="other")
    drawn = [expand(variants, key=key)[1].text for key in range(600)]
    shares = [drawn.count("<image>" + text) / 600 for text in REWRITES]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.08)


@pytest.mark.parametrize(
    ("rewrites", "objects"),
    [
        ([], [0, 0, 0, 0]),
        (["Count them."], [0, 1, 0, 1]),
        (["How many?"], [0, 0, 0, 0]),
        (["Count them.", "Count them."], [0, 1, 1, 0]),
        (["A?", "B?", "C?"], [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_prompts_that_are_the_same_are_one_object(rewrites, objects):
    prompts = expand(Variants(count=4, rewrites="other"), rewrites=rewrites)
    assert [[p is other for other in prompts].index(True) for p in prompts] == objects


def test_a_question_without_images_is_only_reworded():
    variants = Variants(count=2, rewrites="other", transforms=ALL, probability=1.0)
    _, other = expand(variants, Question("2 + 2?"), ["Two and two?"])
    assert other == Question("Two and two?")
    assert all(
        p is not None and p.text == "2 + 2?" for p in expand(variants, Question("2 + 2?"), [])
    )


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_images_are_transformed_with_the_given_probability(probability):
    variants = Variants(count=2, transforms=ALL, probability=probability)
    prompts = [expand(variants, rewrites=[], key=key)[1] for key in range(500)]
    changed = [prompt is not QUESTION for prompt in prompts]
    assert np.mean(changed) == pytest.approx(probability, abs=0.07)


def test_the_prompt_says_once_what_was_done_to_all_of_its_images():
    question = Question("<image>A<image>B", (PICTURE, PICTURE))
    variants = Variants(count=2, transforms=("clockwise",), probability=1.0)
    _, turned = expand(variants, question, [])
    note = TRANSFORMS["clockwise"].note
    assert turned.text == f"<image>{note} A<image>B"
    assert pixels(turned) == [PICTURE.transpose(Image.Transpose.ROTATE_270).tobytes()] * 2
