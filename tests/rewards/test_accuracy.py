"""Right answers are right in any notation, and no answer stops a run."""

import gc
import signal
import threading
import time

import pytest

from vantage.rewards import accuracy, comparing, mathematics
from vantage.rewards.accuracy import LONGEST, correct

SAME = [
    ("4", "4"),
    (" 4 ", "4"),
    ("04", "4"),
    ("4.0", "4"),
    ("1/2", "0.5"),
    ("0.5", "\\frac{1}{2}"),
    ("\\frac12", "1 / 2"),
    ("\\dfrac{3}{6}", "1/2"),
    ("1,000", "1000"),
    ("1{,}000", "1000"),
    ("50\\%", "0.5"),
    ("2\\sqrt{2}", "\\sqrt{8}"),
    ("x^2+2x+1", "(x+1)^2"),
    ("\\{2, 1\\}", "\\{1, 2\\}"),
    ("x = 3", "3"),
    ("\\text{B}", "B"),
    ("(B)", "B"),
    ("90^\\circ", "90"),
    ("3 cm", "3"),
    ("five apples", "five apples"),
]
DIFFERENT = [
    ("5", "4"),
    ("-4", "4"),
    ("41", "4"),
    ("", "4"),
    ("0.333", "1/3"),
    ("²", "2"),
    ("B", "A"),
    ("yes", "no"),
    ("\\frac{1}{0}", "4"),
    ("{4", "4}{"),
    ("\x00", "4"),
    ("\ud800", "4"),
]


@pytest.mark.parametrize(("given", "truth"), SAME)
def test_an_equal_answer_in_another_notation_is_right(given, truth):
    assert accuracy([f"so \\boxed{{{given}}}"], answer=[truth]) == [1.0]


@pytest.mark.parametrize(("given", "truth"), DIFFERENT)
def test_a_different_answer_is_wrong(given, truth):
    assert not correct(given, truth)


def test_only_the_box_counts():
    responses = ["4", "\\boxed{4", "\\boxed{4} or \\boxed{5}", "\\boxed{5} no, \\boxed{4}"]
    assert accuracy(responses, answer=["4"] * 4) == [0.0, 0.0, 0.0, 1.0]


def test_trl_signature():
    said = [{"role": "assistant", "content": "\\boxed{4}"}]
    columns = {"prompts": ["?", "?"], "completion_ids": [[1], [2]], "hint": [None, None]}
    scores = accuracy(completions=[said, "\\boxed{4}"], answer=[4, "5"], **columns)
    assert scores == [1.0, 0.0]


def test_different_numbers_of_answers_and_references_are_refused():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        accuracy(["\\boxed{4}"] * 2, answer=["4"])


@pytest.mark.parametrize(
    ("given", "truth", "right"),
    [
        ("9" * 1_000_000, "4", False),
        ("4", "9" * 1_000_000, False),
        ("9" * 1_000_000, "9" * 1_000_000, True),
        ("9" * LONGEST, "9" * (LONGEST - 1) + "8", False),
        ("x+" * 500_000, "4", False),
    ],
    ids=range(5),
)
def test_a_long_answer_is_compared_as_a_string(given, truth, right):
    began = time.perf_counter()
    assert accuracy([f"\\boxed{{{given}}}"], answer=[truth]) == [right]
    assert time.perf_counter() - began < 2


HOSTILE = [
    "9^{9^{9^{9^{9}}}}",
    "(x+1)^{100000}",
    "1000000000!",
    "7^{10^9}",
    "1e999999999",
    "\\binom{100000000}{50000000}",
    "\\sqrt{" * 140,
    "(" * 900,
]
NEVER = "\\sum_{i=1}^{10^{9}} \\frac{\\sin(i^i)}{i!}"


@pytest.mark.parametrize("given", HOSTILE, ids=lambda given: given[:20])
def test_a_hostile_answer_is_wrong_after_the_time_limit(given, started):
    began = time.perf_counter()
    assert not correct(given, "4")
    assert time.perf_counter() - began < comparing.SECONDS + mathematics.GRACE + 1


def test_the_time_limit_is_below_a_second():
    assert comparing.SECONDS + mathematics.GRACE < 1


def test_the_callers_alarm_is_unchanged(started):
    before = signal.getsignal(signal.SIGALRM)
    correct(NEVER, "4")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.alarm(0) == 0


def in_a_thread(function, *arguments) -> tuple[list, float]:
    """Call a function in a thread; return its results and the seconds it took."""
    result = []
    began = time.perf_counter()
    thread = threading.Thread(target=lambda: result.append(function(*arguments)), daemon=True)
    thread.start()
    thread.join(60)
    return result, time.perf_counter() - began


@pytest.fixture
def started():
    """math-verify in its process, with an empty cache."""
    mathematics.forget()
    assert mathematics.same("\\sum_{i=1}^{3} i", "6")
    yield
    mathematics.forget()


def test_another_thread_gives_the_same_answers():
    pairs = [*SAME, *DIFFERENT]
    (answers,), _ = in_a_thread(lambda: [correct(*pair) for pair in pairs])
    assert answers == [True] * len(SAME) + [False] * len(DIFFERENT)


def test_a_timeout_is_wrong_and_the_next_answer_is_scored(started):
    answers, seconds = in_a_thread(correct, NEVER, "4")
    assert answers == [False]
    assert seconds < comparing.SECONDS + mathematics.GRACE + 1
    assert in_a_thread(correct, "\\sum_{i=1}^{4} i", "10")[0] == [True]


def test_an_answer_that_kills_the_process_is_wrong_and_the_next_is_scored(started):
    mathematics._helper.process.kill()
    mathematics._helper.process.wait()
    assert not correct("\\sum_{i=1}^{5} i", "15")
    assert correct("\\sum_{i=1}^{6} i", "21")


@pytest.mark.parametrize(
    ("given", "truth", "right"),
    [
        ("\\sum_{i=1}^{10} i", "55", True),
        ("\\sum_{i=1}^{10} i", "54", False),
        ("\\int_0^1 x \\, dx", "\\frac{1}{2}", True),
        ("\\int_0^1 x \\, dx", "\\frac{1}{3}", False),
        ("\\lim_{x \\to 0} \\frac{\\sin x}{x}", "1", True),
        ("\\int_0^1 10^{-9} \\, dx", "2 \\cdot 10^{-9}", False),
        ("\\sum_{n=1}^{3} x^n", "x + x^2 + x^3", True),
    ],
)
def test_math_verify_compares_sums_integrals_and_limits(given, truth, right):
    assert correct(given, truth) is right


def test_garbage_collection_does_not_swallow_the_alarm():
    with mathematics._alarm(10):
        assert not gc.isenabled()
    assert gc.isenabled()
