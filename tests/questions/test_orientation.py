"""Questions that a rotation or a mirror could change are detected by their words."""

import sys
import time
from pathlib import Path

import pytest

from vantage.demo import digits
from vantage.questions.orientation import LONGEST, changing

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import orientation as benchmark


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("Find x in the right triangle.", set()),
        ("What is left of the tree?", {"turn", "mirror"}),
        ("How many apples are left?", set()),
        ("As shown in the figure above, find the area.", set()),
        ("What is above the shelf?", {"turn", "mirror"}),
        ("Is the line horizontal?", {"turn"}),
        ("Which letter is this?", {"mirror"}),
        ("What time does the clock show?", {"turn", "mirror"}),
        ("Is the image blurry?", {"noise"}),
        ("What is the area of the circle?", set()),
        ("IS THE CAT ON THE LEFT?", {"turn", "mirror"}),
        ("", set()),
    ],
)
def test_words_of_direction_are_detected_except_in_harmless_phrases(question, kinds):
    assert changing(question) == kinds


def test_the_answer_and_the_options_are_searched_too():
    assert changing("Where is it?") == frozenset()
    assert changing("Where is it?", "to the left") == {"turn", "mirror"}
    assert changing("Where is it? A. north B. inside") == {"turn", "mirror"}


def test_questions_of_the_demo_may_be_rotated():
    assert [words for words in digits.WORDINGS if changing(words, "11") - {"mirror"}] == []


@pytest.mark.parametrize("kind", ["turn", "mirror"])
@pytest.mark.parametrize(
    ("part", "precision", "recall"), [("tuned_on", 0.9, 0.95), ("held_out", 0.85, 0.9)]
)
def test_precision_and_recall_on_labelled_questions(part, kind, precision, recall, capsys):
    hits, alarms, misses, passes = benchmark.counts(part, kind)
    assert hits + alarms + misses + passes > 100
    assert hits / (hits + alarms) >= precision
    assert hits / (hits + misses) >= recall
    benchmark.main()
    assert capsys.readouterr().out.count("\n") == 5


@pytest.mark.parametrize(
    "piece", ["the line ", "a" * 50, "up to ", "which ", "vector x ", "(", "9"]
)
def test_a_long_question_is_searched_quickly(piece):
    began = time.perf_counter()
    changing((piece * LONGEST)[:LONGEST])
    assert time.perf_counter() - began < 2


def test_an_overlong_question_is_never_transformed():
    assert changing("a" * (LONGEST + 1)) == {"turn", "mirror", "noise"}
