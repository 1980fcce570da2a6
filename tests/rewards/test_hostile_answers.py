"""A reward is computed in time for any response."""

import random
import time

import pytest

from vantage.rewards import REWARDS, comparing, mathematics

BOUND = comparing.SECONDS + mathematics.GRACE + 1  # a second of slack for a busy machine

TOWERS = [
    "9^{9^{9^{9}}}",
    "9**9**9**9",
    "2^{2^{2^{2^{2^{2}}}}}",
    "10^{10^{10}}",
    "(10^{100})^{10^{100}}",
    "99999999999!",
    "((100!)!)!",
    "\\binom{10^9}{5 \\cdot 10^8}",
    "1e999999999999",
    "1e99",
    "0.1^{-1000000000}",
    "\\sqrt[1000000000]{2}",
    "\\log(\\log(10^{10^{10}}))",
    "\\sum_{i=1}^{10^{12}} \\frac{1}{i}",
    "\\prod_{i=1}^{10^9} i",
    "\\int_0^{10^9} e^{x^2} \\sin(x^x) dx",
    "\\lim_{x \\to 0} \\frac{\\sin(x)^{100}}{x^{100}}",
    "(x+y+z+w)^{500}",
    "\\frac{x^{10000}-1}{x-1}",
    "x^{10^6} = y^{10^6}",
]
PHRASES = [
    *("is parallel to ", "AB is ", "The color is ", "half past 3 ", "March ", "negative ", "in "),
    *("C is correct ", "A. x; ", "(A)", "①", "①, ", "一", "百", "1小时", "1 h ", "5'6\" ", "US$"),
    *("Fe3", "H2O+", "9.8\\frac{m}", "]1,", "[1,2[", "\\begin{cases}x=1\\\\", "between 5 and "),
    *("\\frac①", "\\binom①②", "10^①", "½①", "3①:4"),
    *("\\triangle ABC \\sim ", "a||b", "a//b", "->", "x is at most 3 ", "30°15'", "5 m east "),
]
NESTED = [
    "\\frac{1}{" * 80 + "2" + "}" * 80,
    "\\sqrt{" * 150 + "2" + "}" * 150,
    "(" * 400 + "1" + ")" * 400,
    "{" * 450 + "}" * 450,
    "\\left(" * 120 + "1" + "\\right)" * 120,
    "\\begin{pmatrix}" * 60,
    "-" * 900 + "1",
    "1+" * 450 + "1",
    "\\text{" * 150 + "a" + "}" * 150,
    "\\{" + ",".join(map(str, range(200))) + "\\}",
    "\\cup".join("(0,1)" for _ in range(90)),
    "1 = " * 240 + "1",
    "√" * 900,
    *(piece * (1_000 // len(piece)) for piece in PHRASES),
]
MEGABYTES = [
    "9" * 1_000_000,
    "9^" * 500_000,
    "\\frac{1}{" * 110_000,
    "{" * 1_000_000,
    " " * 1_000_000,
    "A " * 500_000,
    "(A) or " * 140_000,
    "the answer is " * 70_000,
    "\\boxed{" * 140_000 + "1" + "}" * 140_000,
    "1," * 500_000,
    "\\text{a}" * 120_000,
    "<answer>" * 120_000,
    "🙂" * 1_000_000,
    "\x00" * 1_000_000,
]
PIECES = [
    *"^_{}()[]$901xy.,ei!%|=<>'&\"",
    *("\\frac", "\\sqrt", "\\(", "\\)", "\\begin{matrix}", "\\end{matrix}", "\\\\", "\\infty"),
    *("\\pm", "\\cup", "\\int", "\\sum", "\\lim", "\\to", "\\leq", "\\text{", "\\boxed{"),
    *("\\circ", "\\cdot", "\\times", "or", "and", "10^{10^{10}}", "9999999999"),
    *("√", "°", "\ud800", "\x00", "\u202e"),
]


def scrambled(number: int) -> str:
    rng = random.Random(number)
    return "".join(rng.choices(PIECES, k=rng.choice((3, 10, 40, 200))))


@pytest.fixture(autouse=True, scope="module")
def started():
    """math-verify, which is slow to start."""
    mathematics.same("\\sum_{i=1}^{3} i", "6")


def paid(name: str, response: str, reference: str) -> tuple[float, float]:
    """Return the reward of a response, and the seconds to compute it."""
    began = time.perf_counter()
    (reward,) = REWARDS[name]([response], answer=[reference])
    return reward, time.perf_counter() - began


@pytest.mark.parametrize("reference", ["4", "x^2+1"])
@pytest.mark.parametrize("answer", TOWERS + NESTED, ids=lambda text: text[:24])
def test_a_hostile_answer_is_scored_in_time(answer, reference):
    reward, seconds = paid("accuracy", f"\\boxed{{{answer}}}", reference)
    assert reward == 0.0
    assert seconds < BOUND


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("text", MEGABYTES, ids=lambda text: text[:12])
def test_a_megabyte_is_scored_quickly(name, text):
    for response in (text, f"\\boxed{{{text}}}", f"<think>{text}</think>\\boxed{{{text}"):
        reward, seconds = paid(name, response, "4")
        assert reward == 0.0 or name == "format"
        assert seconds < 3


@pytest.mark.parametrize("name", REWARDS)
def test_scrambled_notation_is_scored_in_time(name):
    for number in range(60):
        reward, seconds = paid(name, f"\\boxed{{{scrambled(number)}}}", "x = 1")
        assert reward in (0.0, 1.0)
        assert seconds < BOUND
