"""Rows with the same question and images are detected."""

import numpy as np
import pytest
from PIL import Image
from planting import encoded, painted

from vantage.checking.leakage import Keys, key, normalised, pixels, repeats, shared
from vantage.questions.pictures import picture
from vantage.questions.schema import Question


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2+3?", "  what is\n2+3"),
        ("<image>How many dogs, and cats?", "How many dogs and cats"),
        ("\u201cWho\u201d is it?", '"who" is it'),
        ("\uff37\uff48\uff4f\uff1f", "who"),
        ("It is 5.", "It is 5"),
    ],
)
def test_keys_ignore_case_spaces_and_punctuation(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("2+3", "2-3"), ("1.5", "15"), ("3!", "3"), ("f(x)", "fx"), ("a*b", "a/b"), (".5 m", "5 m")],
)
def test_keys_depend_on_mathematical_signs(one, other):
    assert normalised(one) != normalised(other)


def test_keys_ignore_the_image_encoding():
    image = painted(3)
    for kind, options in (("png", {}), ("bmp", {}), ("webp", {"lossless": True})):
        assert pixels(picture(encoded(image, kind, **options)).open()) == pixels(image)
    assert pixels(image) != pixels(painted(4))


def test_keys_depend_on_the_image_shape():
    grey_HW = np.zeros((4, 9), dtype=np.uint8)
    tall, wide = Image.fromarray(grey_HW), Image.fromarray(grey_HW.reshape(9, 4))
    assert pixels(tall) != pixels(wide)


def made(number: int, text: str, answer: str = "1"):
    return key(Question(text), [painted(number)], answer)


def test_equal_words_and_images_leak_but_a_common_image_does_not():
    train = [(10, made(1, "How many?")), (11, made(2, "How many?"))]
    test = [
        (0, made(1, "how many")),
        (1, made(2, "Which colour?")),
        (2, made(3, "How many?")),
    ]
    found = shared(Keys.of(train), Keys.of(test))
    assert found.both == [(0, 10)]
    assert found.pictures == [(1, 11)]


def test_one_common_image_of_several_is_found():
    train = [(0, key(Question("a"), [painted(1), painted(2)], ""))]
    test = [(5, key(Question("b"), [painted(9), painted(2)], ""))]
    assert shared(Keys.of(train), Keys.of(test)).pictures == [(5, 0)]


def test_text_questions_leak_by_their_words():
    train, test = [(0, key(Question("Why?"), [], ""))], [(3, key(Question("why"), [], ""))]
    found = shared(Keys.of(train), Keys.of(test))
    assert found.both == [(3, 0)]
    assert found.pictures == []


def test_repeats_with_another_answer_are_separate():
    rows = [
        (0, made(1, "How many?", "4")),
        (2, made(1, "how many", "4")),
        (3, made(1, "How many?", "5")),
        (4, made(2, "How many?", "4")),
    ]
    found = repeats(Keys.of(rows))
    assert found.same == [(2, 0)]
    assert found.contradicting == [(3, 0)]
