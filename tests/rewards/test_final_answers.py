"""The final answer of a response, with and without a box, after its thoughts."""

import time

import pytest

from vantage.rewards import tag_accuracy, tag_format
from vantage.rewards.choice import chosen
from vantage.rewards.opening import judged, opened, opened_by, opened_by_others
from vantage.rewards.text import TAIL, final, tagged

FINAL = [
    ("The answer is: \n\nB", "B"),
    ("**Final Answer:**\n\nB", "B"),
    ("**Answer:**\nB", "B"),
    ("### **Final answer:**\n\n5", "5"),
    ("## Answer\n\n**B**", "B"),
    ("Final Answer: \n5", "5"),
    ("The final answer is:  \n\n$5$", "$5$"),
    ("**Answer**: B", "B"),
    ("The answer is:\n\n**B**", "B"),
    ("**Result:**\n\n12 cm", "12 cm"),
    ("*Answer:* \n\nB", "B"),
    ("The result is as follows: first we add 2 and 3.\nB", "B"),
    ("Answer: B\n\nLet me know if you have a question about my choice: I am happy.", "B"),
    ("The answer is B.\n\nThe other options: A is wrong.", "B."),
    ("The answer is B because the arc is 240.", "B"),
    ("The answer is 12 cm. This follows from the theorem.", "12 cm"),
    ("Answer: 12 cm since the sides are equal", "12 cm"),
    ("Option A: 3 cells, Option B: 5 cells. We choose B", "B"),
    ("<answer> \\boxed{B} </answer>", "B"),
    ("<answer>\n**B**\n</answer>", "**B**"),
    ("Answer:\u00a0\nB", "B"),
    ("答案\uff1aB", "B"),
    ("所以答案是 5", "5"),
    ("因此,故选:C", "C"),
    ("\\boxed {B}", "B"),
    ("\\boxed\n{B}", "B"),
    ("\\fbox{B}", "B"),
    ("$\\boxed{\\mathrm{B}}$", "\\mathrm{B}"),
    ("\\boxed{B", None),  # cut off
    ("\\boxed{4} or \\boxed{", None),
    ("Answer: $\\boxed{B}$.\n\\boxed{}", None),
    ("<think>Is it \\boxed{5}?</think>\nThe answer is 6.", "6."),
    ("<think>Is it \\boxed{5}?", None),
    ("Is it \\boxed{5}?</think>\n6", "6"),
    ("<think>It is 5.</think>", None),
]


@pytest.mark.parametrize(("response", "answer"), FINAL)
def test_the_final_answer_of_a_response(response, answer):
    assert final(response) == answer


OPTIONS = ("3 cells", "5 cells", "8 cells")


@pytest.mark.parametrize(
    "response",
    [
        *(said for said, answer in FINAL if answer in ("B", "B.", "**B**", "\\mathrm{B}")),
        "\\boxed{\\text{Answer: B}}",
        "\\boxed{\\textbf{(B)}\\ 5}",
        "\\boxed{\\text{(B) 5 cells}}",
        "I am sure. The answer is (B) 5 cells.",
        "5 cells",
    ],
)
def test_option_named_by_a_response(response):
    assert chosen(final(response), "B", OPTIONS)


TAGS = [
    ("<think>1</think><answer>5</answer>", "5"),
    ("<think>1</think>\n<answer>\n 5 \n</answer>\n", "5"),
    ("<think>1</think><answer>\\boxed{5}</answer>", "5"),
    ("<think>1</think><answer>4</answer><answer>5</answer>", "5"),
    ("<think><answer>4</answer></think>", None),
    ("<think><answer>4</answer>", None),
    ("<think>1</think><answer>5", None),
    ("<think>1</think>5", None),
    ("<think>1</think>\\boxed{5}", None),
    ("", None),
]


@pytest.mark.parametrize(("response", "answer"), TAGS)
def test_the_answer_in_tags(response, answer):
    assert tagged(response) == answer
    earned = tag_accuracy([response, [{"role": "assistant", "content": response}]], ["5.0"] * 2)
    assert earned == [float(answer == "5")] * 2


FORMS = [
    ("<think>1</think><answer>5</answer>", 1),
    (" <think>\n1\n</think>\n\n<answer>5</answer> \n", 1),
    ("<think>1</think> so <answer>5</answer>", 0),
    ("<think>1</think><answer>5</answer> indeed", 0),
    ("<think>1</think>\\boxed{5}", 0),
    ("<answer>5</answer>", 0),
    ("<think>1<answer>5</answer>", 0),
    ("<think>1</think><answer>5", 0),
]


@pytest.mark.parametrize(("response", "score"), FORMS)
def test_tag_format_is_thinking_then_answer_tags(response, score):
    assert tag_format([response]) == [score]


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("<|user|>?<|assistant|>\n<think>\n", "<think>\n"),
        ("<|assistant|><think>", "<think>"),
        ("<|assistant|>", ""),
        ("<|assistant|><think>\n\n</think>\n\n", ""),
        ("Think inside <think> tags!<|assistant|>", ""),
        ("", ""),
    ],
)
def test_tag_at_the_end_of_a_prompt(prompt, tag):
    assert opened(prompt) == tag


class Reader:
    """A tokenizer whose template opens thoughts unless `enable_thinking` is False."""

    def apply_chat_template(self, conversation, *, enable_thinking=True, **options):
        ((role, content),) = (message.values() for message in conversation)
        return f"<{role}>{content}<assistant>" + ("<think>\n" if enable_thinking else "")


def test_tag_opened_by_a_chat_template():
    assert opened_by(Reader()) == "<think>\n"
    assert opened_by(Reader(), enable_thinking=False) == ""


@pytest.mark.parametrize(
    ("said", "tag", "whole"),
    [
        ("1</think>5", "<think>\n", "<think>\n1</think>5"),
        ("<think>1</think>5", "<think>\n", "<think>1</think>5"),
        ("1</think>5", "", "1</think>5"),
        ("", "<think>", "<think>"),
    ],
)
def test_the_tag_is_prepended_to_a_response(said, tag, whole):
    talk = [{"role": "assistant", "content": said}]
    assert judged(talk, tag) == [{"role": "assistant", "content": whole}]
    assert talk[0]["content"] == said
    assert judged(said, tag) == (whole if said else said)


@pytest.mark.parametrize(
    ("responses", "ended", "tag"),
    [
        (["2</think>3"], [True], "<think>\n"),
        (["1", "2</think>3", "4</think>5"], [True, True, True], "<think>\n"),
        (["1", "2", "3</think>4"], [False, False, True], "<think>\n"),  # two truncated thoughts
        (["1", "2</think>3"], [False, False], "<think>\n"),  # one truncated after its thoughts
        (
            ["1", "2", "3</think>4"],
            [True, True, True],
            "",
        ),  # a mistake of a model that never thinks
        (["1", "<think>2</think>3"], [True, True], ""),
        (["<think>1</think>2", "3</think>4"], [True, True], ""),
        ([], [], ""),
    ],
)
def test_the_tag_is_inferred_from_most_complete_responses(responses, ended, tag):
    assert opened_by_others(responses, ended) == tag


@pytest.mark.parametrize(
    "piece", ["answer:\n", "answer: ", "answer:\n \n", "<answer>", "**", "choose "]
)
def test_a_long_response_is_parsed_quickly(piece):
    began = time.perf_counter()
    final(piece * (TAIL // len(piece)) + "\n" * 50)
    final(piece + "\n" * TAIL)
    assert time.perf_counter() - began < 2
