"""The last box of a response, and the format reward."""

import time

import pytest

from vantage.rewards import format
from vantage.rewards.text import boxed, text

BOXES = [
    ("\\boxed{4}", "4"),
    ("\\boxed{ 4\n}", "4"),
    ("so \\boxed{\\frac{1}{2}} is it", "\\frac{1}{2}"),
    ("\\boxed{{{a}}{b}}", "{{a}}{b}"),
    ("first \\boxed{3}, then \\boxed{4}", "4"),
    ("\\boxed{3}\\boxed{}", ""),
    ("\\boxed{\\boxed{4}}", "4"),
    ("\\boxed{4} and \\boxed{5", None),
    ("\\boxed{4", None),
    ("\\boxed{{4}", None),
    ("\\boxed4", "4"),
    ("\\boxed 5", "5"),
    ("\\boxed {5}", "5"),
    ("\\boxed\n{5}", "5"),
    ("\\fbox{5}", "5"),
    ("\\boxed B.", "B"),
    ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
    ("\\boxed{\\left\\{ x \\right.}", "\\left\\{ x \\right."),
    ("<think>\\boxed{5}</think> It is 5.", None),
    ("<think>\\boxed{5}", None),
    ("<think>\\boxed{5}</think> \\boxed{3}", "3"),
    ("\\boxed{5} <think>\\boxed{3}", "5"),
    ("\\boxed", None),
    ("\\boxed \\frac12", None),
    ("boxed{4}", None),
    ("4", None),
    ("", None),
    ("}\\boxed{4}{", "4"),
    ("\\boxed{四 ½ \x00}", "四 ½ \x00"),
]


@pytest.mark.parametrize(("response", "answer"), BOXES)
def test_the_last_closed_box_is_the_answer(response, answer):
    assert boxed(response) == answer


def test_a_response_is_a_string_or_a_conversation():
    parts = [
        {"type": "text", "text": "\\boxed"},
        {"type": "image"},
        {"type": "text", "text": "{4}"},
    ]
    said = {"role": "assistant", "content": "\\boxed{4}"}
    in_parts = {"role": "assistant", "content": parts}
    earlier = {"role": "assistant", "content": "\\boxed{3}"}
    for completion in ("\\boxed{4}", [said], [in_parts], [earlier, said]):
        assert text(completion) == "\\boxed{4}"


FORMS = [
    ("<think>3 + 1</think>\\boxed{4}", 1),
    ("  \n<think>3 + 1\n= 4</think>\n The answer is \\boxed{4}. ", 1),
    ("<think></think>\\boxed{}", 1),
    ("<think>\\boxed{3}</think>so \\boxed{4}", 1),
    ("<think>a</think>b</think>\\boxed{\\frac{1}{2}}", 1),
    ("<think>3 + 1</think>4", 0),
    ("<think>3 + 1 \\boxed{4}</think>", 0),
    ("<think>3 + 1\\boxed{4}", 0),
    ("3 + 1</think>\\boxed{4}", 0),
    ("well <think>3 + 1</think>\\boxed{4}", 0),
    ("<think>3 + 1</think>\\boxed{4", 0),
    ("<Think>3 + 1</Think>\\boxed{4}", 0),
    ("\\boxed{4}", 0),
    ("", 0),
]


@pytest.mark.parametrize(("response", "score"), FORMS)
def test_format_is_thinking_then_a_box(response, score):
    conversation = [{"role": "assistant", "content": response}]
    assert format(completions=[response, conversation], answer=["4", "4"]) == [score, score]


LONG = [
    "<think>" + "</think>\\boxed{" * 70_000,
    "<think>" + "</think>" * 120_000 + "\\boxed{" * 20_000,
    " " * 1_000_000,
    "\\boxed{" + "{" * 1_000_000,
    "\\boxed{" * 140_000,
    "\\boxed{" + "{}" * 500_000,
]


@pytest.mark.parametrize("response", LONG, ids=range(len(LONG)))
def test_an_unclosed_megabyte_is_parsed_quickly(response):
    began = time.perf_counter()
    assert format(completions=[response]) == [0.0]
    assert boxed(response) is None
    assert time.perf_counter() - began < 5
