"""References of published data sets: their answer is found, or they are refused."""

import pytest

from vantage.rewards import accuracy, choice, numeric
from vantage.rewards.accuracy import correct
from vantage.rewards.references import fault, perfect

LONG = "First note that the sum of the angles is 180. " * 25

READ = [  # reference, right answers, wrong ones
    (r"Adding 1 and 2 we get $\boxed{3}$.", ["3"], ["1", "2", "12"]),
    (r"We have $x = 2$, so the area is $xy = \boxed{10}$ square units.", ["10"], ["2", "5"]),
    (LONG + r"Hence the angle is $\boxed{40}$.", ["40", "40°"], ["180"]),
    ("<answer> 3 </answer>", ["3", "3.0"], ["4"]),
    ("<answer>3.5</answer>", ["3.5"], ["3"]),
    ("<answer>-3</answer>", ["-3"], ["3"]),
    ("<answer>D</answer>", ["D", "(D)", "Option D"], ["A"]),
    ("<answer> D. Both </answer>", ["D", "Both"], ["A", "None"]),
    ("<answer>\\boxed{7}</answer>", ["7"], ["8"]),
    ("<answer>Yes</answer>", ["Yes", "yes"], ["No"]),
    ("<think>1+2</think>\n<answer>3</answer>", ["3"], ["1", "2"]),
    ("<think>\\boxed{1}</think> \\boxed{3}", ["3"], ["1"]),
    ("#### 42", ["42"], ["41"]),
    ("She has 3 * 14 = 42 apples.\n#### 42", ["42"], ["3", "14"]),
    ("The answer is B.", ["B"], ["A"]),
    ("Answer: 12", ["12"], ["1"]),
    ("The area is 12 cm^2.", ["12", "12 cm²"], ["12 cm", "13"]),
    ("D. 45°", ["D", "45", "(D) 45°"], ["A", "D. 46°"]),
    ("['12', '12.0']", ["12", "12.0"], ["13"]),
    ("['3', '5']", ["3, 5", "5 and 3"], ["3", "5"]),
    ("12\n", ["12"], ["1"]),
    ("[1, 2]", ["[1,2]"], ["[1,3]", "1"]),
]


@pytest.mark.parametrize(("written", "right", "wrong"), READ)
def test_the_answer_inside_a_reference_is_compared(written, right, wrong):
    assert fault(written) is None
    assert accuracy([perfect(written)], answer=[written]) == [1.0]
    assert [correct(answer, written) for answer in right] == [True] * len(right)
    assert [correct(answer, written) for answer in wrong] == [False] * len(wrong)


REFUSED = [
    ("\\boxed{}", "an empty box"),
    ("So it is \\boxed{} then.", "an empty box"),
    ("<answer> </answer>", "an empty box"),
    (LONG, "a text of 250 words"),
    ("?", "it contains nothing that can be compared"),
    ("\\int " * 30 + "x", "a formula that"),
]


@pytest.mark.parametrize(("written", "words"), REFUSED)
def test_references_that_no_answer_matches_are_refused(written, words):
    assert words in fault(written)


@pytest.mark.parametrize("written", ["9^{9^{9^{9}}}", "1/0", "no real solution", "MN"])
def test_odd_but_answerable_references_are_accepted(written):
    assert fault(written) is None
    assert correct(written, written)


SEVERAL = [
    ("AC", "AC", 1),
    ("AC", "A, C", 1),
    ("AC", "C and A", 1),
    ("AC", "(A) and (C)", 1),
    ("A,C", "AC", 1),
    ("AC", "A", 0),
    ("AC", "ABC", 0),
    ("AC", "A or C", 0),
    ("AC", "", 0),
    ("A", "A, C", 0),
    ("<answer>B</answer>", "B", 1),
    ("The answer is B.", "B", 1),
    ("B", "Option B", 1),
    ("ABCD", "A, B, C, D", 1),
]


@pytest.mark.parametrize(("written", "said", "score"), SEVERAL)
def test_several_right_options_must_all_be_named(written, said, score):
    assert choice([f"\\boxed{{{said}}}"], answer=[written]) == [score]
    options = ["one", "two", "three", "four"]
    assert choice([f"\\boxed{{{said}}}"], answer=[written], choices=[options]) == [score]


@pytest.mark.parametrize(
    ("said", "written", "score"),
    [
        ("x = 65", "65", 1),
        ("x = 66", "65", 1),
        ("x = 75", "65", 0),
        ("3\\times10^5", "300000", 1),
        ("3.1\\times10^5", "300000", 1),
        ("3\\times10^6", "300000", 0),
        ("30度", "30", 1),
        ("31度", "30", 1),
        ("2\\sqrt{2}", "2.8", 1),
        ("9.8 \\text{ m/s}^2", "10", 1),
        ("1 kW", "1 W", 0),
        ("1.02 kW", "1000 W", 1),
        ("5", "#### 5", 1),
    ],
)
def test_numeric_reads_numbers_as_accuracy_does(said, written, score):
    assert numeric([f"\\boxed{{{said}}}"], answer=[written]) == [score]
