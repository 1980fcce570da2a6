"""The rewards for options, numbers and words."""

import pytest

from vantage.rewards import REWARDS, choice, numeric, string
from vantage.rewards.choice import chosen, letter
from vantage.rewards.numeric import near, relaxed
from vantage.rewards.string import alike
from vantage.rewards.text import final

ANGLES = ["40°", "60°", "120°", "140°"]
NAMES = ["The leaf", "An owl", "B", "grass"]

LETTERS = [
    ("C", [], "C"),
    ("c", [], "C"),
    ("(C)", [], "C"),
    ("C.", [], "C"),
    ("C)", [], "C"),
    ("\\text{C}", [], "C"),
    ("\\textbf{(C) } 120", ANGLES, "C"),
    ("C. 120°", ANGLES, "C"),
    ("C: 120", ANGLES, "C"),
    ("option C", [], "C"),
    ("Option (C)", [], "C"),
    ("The answer is C", [], "C"),
    ("It has to be (C), since the arc is 240.", ANGLES, "C"),
    ("**C**", [], "C"),
    ("$C$", [], "C"),
    ("120", ANGLES, "C"),
    ("120^\\circ", ANGLES, "C"),
    ("120 degrees", ANGLES, "C"),
    ("E", ANGLES, None),
    ("100", ANGLES, None),
    ("A or C", ANGLES, None),
    ("(A) and (C)", ANGLES, None),
    ("A, C", ANGLES, None),
    ("", ANGLES, None),
    ("I do not know", ANGLES, None),
    ("A triangle has 180 degrees", ANGLES, None),
    ("the leaf", NAMES, "A"),
    ("owl", NAMES, "B"),
    ("B. An owl", NAMES, "B"),
    ("grass", NAMES, "D"),
    ("tree", NAMES, None),
    ("Grass.", NAMES, "D"),
    ("not C", ANGLES, None),
    ("C is wrong", ANGLES, None),
    ("All except C", ANGLES, None),
    ("neither A nor C", ANGLES, None),
    ("A is incorrect, so C", ANGLES, None),
    ("C, because A is not an arc", ANGLES, "C"),
]


@pytest.mark.parametrize(("given", "options", "name"), LETTERS)
def test_the_letter_of_an_answer(given, options, name):
    assert letter(given, options) == name


def test_a_number_too_large_for_a_float_raises_nothing():
    assert not near("2120!", "5") and not near("5", "2120!")
    assert not near("2121!", "2120!") and not near("10^{400}", "10^{401}")


@pytest.mark.parametrize("said", ["选C", "选择C", "正确答案是C", "C选项正确", "Figure C", "图C"])
def test_option_named_in_chinese_or_by_its_figure(said):
    assert chosen(said, "C", ANGLES) and not chosen(said, "B", ANGLES)
    assert not chosen("C不正确", "C", ANGLES) and not chosen("不选C", "C", ANGLES)


def test_choice_accepts_the_letter_or_the_text():
    responses = [f"\\boxed{{{answer}}}" for answer in ("B", "(b)", "An owl", "A", "owl or leaf")]
    earned = choice([*responses, "B"], answer=["B"] * 6, choices=[NAMES] * 6)
    assert earned == [1, 1, 1, 0, 0, 0]
    assert choice(["\\boxed{D}"], answer=["grass"], choices=[NAMES]) == [1]
    assert choice(["\\boxed{B}"] * 2, answer=["(B)", "C"]) == [1, 0]


NEAR = [
    ("100", "100", True),
    ("104.9", "100", True),
    ("105", "100", True),
    ("105.1", "100", False),
    ("95", "100", True),
    ("-100", "100", False),
    ("1.04 m", "100 cm", True),
    ("1.04 kg", "100 cm", False),
    ("104 items", "100", True),
    ("0.51", "50%", True),
    ("51", "50%", True),
    ("51%", "0.5", True),
    ("1/3", "0.34", True),
    ("1,030", "1000", True),
    ("0", "0", True),
    ("0.01", "0", False),
    ("many", "100", False),
    ("Paris", "paris", True),
    ("100", "Paris", False),
    ("", "100", False),
    (None, "100", False),
]


@pytest.mark.parametrize(("given", "truth", "right"), NEAR)
def test_numeric_tolerance_is_five_percent(given, truth, right):
    assert near(given, truth) is right
    if given is not None:
        assert numeric([f"so \\boxed{{{given}}}"], answer=[truth]) == [float(right)]


RELAXED = [
    ("62", "62", True),
    ("65.1", "62", True),
    ("65.2", "62", False),
    ("0.62", "62%", True),
    ("62%", "62", False),
    ("62\\%", "0.62", True),
    ("15 items", "15", False),
    ("1,000", "1000", False),
    ("0", "0", True),
    ("0.0", "0", False),
    ("Yes", "yes", True),
    ("Angry", "Happy", False),
    ("\\text{Angry}", "angry", True),
    (None, "62", False),
]


@pytest.mark.parametrize(("given", "truth", "right"), RELAXED)
def test_relaxed_accuracy_of_chartqa(given, truth, right):
    assert relaxed(given, truth) is right


WORDS = [
    ("Paris", "paris", True),
    ("the Eiffel Tower", "Eiffel tower", True),
    ("Eiffel-Tower", "Eiffel Tower", False),
    ("\\text{an apple}", "Apple", True),
    ("red,  green", "Red, green.", True),
    ("green, red", "red, green", False),
    ("a", "A", True),
    ("", "", False),
    (None, "x", False),
]


@pytest.mark.parametrize(("given", "truth", "right"), WORDS)
def test_string_ignores_formatting(given, truth, right):
    assert alike(given, truth) is right
    if given is not None:
        assert string([f"\\boxed{{{given}}}"], answer=[truth]) == [float(right)]


FINAL = [
    ("\\boxed{4}", "4"),
    ("first \\boxed{3}, no: \\boxed{4}", "4"),
    ("The answer is 4.", "4."),
    ("Answer: (B) grass", "(B) grass"),
    ("<think>answer is 3</think>\nThe answer is 4", "4"),
    ("<think>The answer is 3", None),
    ("<answer>4</answer> as I said: answer is 5", "4"),
    ("Some thoughts.\n\nB", "B"),
    ("\\boxed{}", None),
    ("answer: 3\nno\nfinal answer: 4\nbye", "4"),
    ("", None),
    ("   \n ", None),
]


@pytest.mark.parametrize(("response", "answer"), FINAL)
def test_final_answer_without_a_box(response, answer):
    assert final(response) == answer


@pytest.mark.parametrize("name", ["accuracy", "choice", "numeric", "string"])
def test_answer_rewards_require_a_box(name):
    said = [{"role": "assistant", "content": "\\boxed{B}"}]
    assert REWARDS[name]([said, "B", "\\boxed{B"], answer=["B"] * 3) == [1, 0, 0]
