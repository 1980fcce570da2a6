"""Cases of the guards: (question, rewrite, answer, the guard that rejects it or None)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vantage.rewriting import contents, guards
from vantage.rewriting.guards import GUARDS, Pair, reason, wording

CHOICES = "Which is larger?\nA. 5\nB. 15\nC. 7\nD. 8"
GEOMETRY = "<image>In triangle ABC, AB = 5 and the angle at C is 30°. Find the length of BC."

CASES = [
    # numbers
    ("What is 5 plus 15?", "Work out the total of 5 and 15.", "20", None),
    ("What is 5 plus 15?", "Work out the total of 15 and 15.", "20", "numbers"),
    ("What is 5 plus 15?", "Work out the total of 15 and 150.", "20", "numbers"),
    (
        "Add 5 apples to 15.",
        "If there are 15 apples, how many are there with 15 more?",
        "",
        "numbers",
    ),
    ("Each of the 3 boxes holds 4 pens.", "Three boxes hold four pens each.", "12", None),
    ("Each of the three boxes holds 4 pens.", "There are 3 boxes with 4 pens in each.", "", None),
    (
        "Each of the three boxes holds 4 pens.",
        "There are 5 boxes with 4 pens in each.",
        "",
        "numbers",
    ),
    ("A city has 1,200 trees.", "There are 1200 trees in a city.", "", None),
    ("A city has 12,000 trees.", "There are 1200 trees in a city.", "", "numbers"),
    ("A city has $1{,}200$ trees.", "In a city there are $1200$ trees.", "", None),
    ("A rope is 2.50 long.", "How long is it: a rope of 2.5?", "", None),
    ("A rope is 2.5 long.", "How long is it: a rope of 25?", "", "numbers"),
    ("There are twenty-five pupils.", "A class has 25 pupils.", "", None),
    ("There are two hundred pupils.", "A school has 200 pupils.", "", None),
    ("There are two hundred pupils.", "A school has 100 pupils.", "", "numbers"),
    ("Which one of the two lines is longer?", "Of both lines, which is the longer?", "", None),
    ("Compare the 2 lines.", "Which of both lines is longer?", "", None),
    ("Find the total of all digits.", "What do all 7 digits add up to?", "", "numbers"),
    ("Add .5 to it.", "What do you get when you add 0.5 to it?", "", None),
    ("What is -5 plus 3?", "What do you get from 3 plus -5?", "", None),
    # units
    ("A side is 5 cm.", "One side measures 5 centimeters.", "", None),
    ("A side is 5 cm.", "One side measures 5 m.", "", "units"),
    ("A side is 5 cm.", "One side measures 5.", "", "units"),
    ("A car drives at 60 km/h.", "A car has a speed of 60 kilometers per hour.", "", None),
    ("A car drives at 60 km/h.", "A car has a speed of 60 miles per hour.", "", "units"),
    ("The angle is 30°.", "The angle measures 30 degrees.", "", None),
    ("The angle is 30 degrees.", "Of 30 degrees is the angle.", "", None),
    ("An area of 20 cm² is cut.", "Someone cuts an area of 20 cm^2.", "", None),
    ("An area of 20 cm² is cut.", "Someone cuts a strip of 20 cm.", "", "units"),
    ("The second digit is even.", "Is the second of the digits even?", "", None),
    ("Wait for 5 seconds.", "Pause for 5 s.", "", None),
    ("Wait for 5 seconds.", "Pause for 5 minutes.", "", "units"),
    ("It costs $5 and not $6.", "The price is $5 and not $6.", "", None),
    ("It costs $5.", "The price is 5 euros.", "", "units"),
    ("Prices rose by 50%.", "There was a rise of 50 percent in prices.", "", None),
    ("How large is the angle?", "How many degrees has the angle?", "", "units"),
    # formulas, LaTeX and signs
    ("Solve 2x + 3 = 7.", "For which number does 2x+3=7 hold?", "2", None),
    ("Solve 2x + 3 = 7 for x.", "Find x such that 2x+3=7.", "2", None),
    ("Solve 2x + 3 = 7 for x.", "Find x such that 2x-3=7.", "2", "mathematics"),
    ("Solve $x^2 = 9$.", "Find the solutions of $x^{2} = 9$.", "", "mathematics"),
    ("Solve $x^2 = 9$.", "Find all solutions of \\(x^2=9\\).", "", None),
    ("What is $\\frac{1}{2}$ of 8?", "Take $\\dfrac{1}{2}$ of 8: what is it?", "4", None),
    ("What is $\\frac{1}{2}$ of 8?", "Take $\\frac{2}{1}$ of 8: what is it?", "4", "mathematics"),
    ("What is 1/2 of 8?", "How much is 2/1 of 8?", "4", "mathematics"),
    ("What is $\\sqrt{16}$?", "Find the root of 16.", "4", "mathematics"),
    ("What is 7 - 3?", "How much is 3 - 7?", "4", "mathematics"),
    ("What is 7 \u2212 3?", "How much is 7 - 3?", "4", None),
    ("Is x ≥ 3?", "Does x \\geq 3 hold?", "", None),
    ("Is x > 3?", "Does x < 3 hold?", "", "mathematics"),
    ("If AB ⊥ CD, is it so?", "Is it so if AB ∥ CD?", "", "mathematics"),
    ("Find the area, in terms of π.", "Express the area with π.", "", None),
    # choices
    (CHOICES, "Find the larger number.\nA. 5\nB. 15\nC. 7\nD. 8", "B", None),
    (CHOICES, "Find the larger number.\n(A) 5\n(B) 15\n(C) 7\n(D) 8", "B", None),
    (CHOICES, "Find the larger number: A) 5 B) 15 C) 7 D) 8", "B", None),
    (CHOICES, "Find the larger number.\nA. 15\nB. 5\nC. 7\nD. 8", "B", "choices"),
    (CHOICES, "Find the larger number.\nA. 5\nB. 15\nC. 7", "B", "choices"),
    (CHOICES, "Find the larger of 5, 15, 7 and 8.", "B", "choices"),
    ("Which is larger, 5 or 7?", "Which is larger?\nA. 5\nB. 7", "7", "choices"),
    (CHOICES, "The answer is B: which is larger?\nA. 5\nB. 15\nC. 7\nD. 8", "B", "answer"),
    # names
    (GEOMETRY, "<image>Triangle ABC has AB = 5 and a 30° angle at C. How long is BC?", "10", None),
    (
        GEOMETRY,
        "<image>Triangle ABC has AB = 5 and a 30° angle at C. How long is AC?",
        "10",
        "names",
    ),
    (
        GEOMETRY,
        "<image>Triangle ABD has AB = 5 and a 30° angle at C. How long is BC?",
        "10",
        "names",
    ),
    ("Find x.", "Determine y.", "3", "names"),
    ("Find x.", "Determine the value of x.", "3", None),
    ("A triangle has a right angle at A.", "The right angle of a triangle is at A.", "", None),
    ("A triangle has a right angle at A.", "The right angle of a triangle is at B.", "", "names"),
    ("A line is shown.", "There is a line.", "", None),
    ("Reflect P into P'.", "What is P' when P is reflected?", "", None),
    ("Reflect P into P'.", "What is the reflection of P?", "", "names"),
    ("Where is P1?", "Find the place of P2.", "", "names"),
    # placeholders
    ("<image>What is shown?", "What does the picture show?", "", "placeholders"),
    ("What is shown?", "<image>What does the picture show?", "", "placeholders"),
    ("<image>Compare with <image>.", "How does <image> differ from <image>?", "", None),
    ("What is shown?", "What does it show?<|im_end|>", "", "placeholders"),
    # copies
    ("What is the sum?", "What is the sum?", "", "copy"),
    ("What is the sum?", "  what is  the SUM", "", "copy"),
    # the answer
    ("How many sides has a square?", "A square has 4 sides, right?", "4", "answer"),
    ("How many sides has a square?", "Do you count four sides on a square?", "4", "answer"),
    ("What is 4 plus 0?", "Add 4 and 0: what is it?", "4", None),
    ("What is 4 plus 0?", "Add 4 and 0. The answer is 4, why?", "4", "answer"),
    ("Is it 14 or 41?", "Which is it, 14 or 41?", "4", None),
    ("What colour is the car?", "The car is blue; what colour is it?", "blue", "answer"),
    ("What colour is the car?", "Name the colour of that car.", "blue", None),
    ("What is it in the sky?", "Which thing do you see in the sky?", "ski", None),
    ("Which point is marked?", "Is it the point C that is marked?", "C", "answer"),
    ("Which point is marked?", "A point is marked. Which?", "A", None),
    ("Give the root.", "Is $\\sqrt{2}$ the root?", "\\sqrt{2}", "answer"),
    ("Which is the capital?", "Is New  York the capital?", "new york", "answer"),
    # length
    ("What is the sum of the digits?", "", "", "length"),
    ("What is the sum of the digits?", "Sum? " * 40, "", "length"),
    ("Add the digits that you can see in the picture, all of them. " * 3, "Add.", "", "length"),
    # refusals
    ("What is the sum?", "I'm sorry, I cannot help with that.", "", "refusal"),
    ("What is the sum?", "I\u2019m sorry, but that is impossible.", "", "refusal"),
    ("What is the sum?", "As an AI, I have no eyes.", "", "refusal"),
    ("I cannot see the sum. What is it?", "I cannot find the sum. What is it?", "", None),
    # characters
    ("What is the sum?", "What is the\x00 total?", "", "characters"),
    ("What is the sum?", "What is the\u202e total?", "", "characters"),
    ("What is the sum?", "What is the\x0crac total?", "", "characters"),
    ("What is the sum?", "What\nis the total?", "", None),
    # negation and topic
    ("Which of these is even?", "Which of these is not even?", "", "negation"),
    ("Which of these isn't even?", "Which of these is not even?", "", None),
    (
        "Read all handwritten digits shown there and give their total.",
        "Where should somebody plant such lovely flowers next summer?",
        "",
        "topic",
    ),
]


@pytest.mark.parametrize(("question", "rewrite", "answer", "guard"), CASES)
def test_a_rewrite_is_rejected_by_the_right_guard(question, rewrite, answer, guard):
    found = reason(Pair(question, rewrite, answer))
    assert (found.partition(":")[0] if found else None) == guard, found


def test_the_table_covers_both_verdicts_and_every_guard():
    assert len(CASES) >= 60
    assert {case[3] for case in CASES} == {None, *GUARDS}


def test_a_copy_of_another_rewrite_is_rejected():
    pair = Pair("What is the sum?", "Give the total!", taken={wording("Give the total.")})
    assert reason(pair) == "copy: a copy of another rewrite"


def test_the_wordings_of_the_demo_pass():
    from vantage.demo.digits import WORDINGS

    refused = {
        (one, other): why
        for one in WORDINGS
        for other in WORDINGS
        if one != other and (why := reason(Pair(one, other, "11")))
    }
    assert not refused


TEXTS = st.text(max_size=60) | st.sampled_from([case[n] for case in CASES for n in (0, 1)])
WORDS = st.lists(
    st.sampled_from(
        ["AB", "=", "5", "cm", "x", "not", "<image>", "three", "$", "\\frac", "A.", "B."]
    )
)
ANY = TEXTS | WORDS.map(" ".join)


@given(ANY, ANY, st.text(max_size=5))
def test_accepted_rewrites_are_new_visible_and_keep_numbers_and_images(question, rewrite, answer):
    if reason(Pair(question, rewrite, answer)) is not None:
        return
    assert rewrite != question
    assert rewrite.count("<image>") == question.count("<image>")
    assert contents.numbers(rewrite).certain <= contents.numbers(question).possible
    assert contents.hidden_characters(rewrite) <= contents.hidden_characters(question)
    assert not guards.is_refusal(rewrite) or guards.is_refusal(question)


@given(ANY, st.text(max_size=5))
def test_the_question_itself_is_rejected_in_any_case_and_spacing(question, answer):
    for rewrite in (question, question.upper(), question.replace(" ", "  "), f" {question}!"):
        assert reason(Pair(question, rewrite, answer)) is not None


@given(ANY)
def test_only_copy_and_length_reject_the_question_itself(question):
    pair = Pair(question, question)
    assert {name for name, guard in GUARDS.items() if guard(pair)} <= {"copy", "length"}
