"""Measures of benchmarks, by hand from right and wrong answers."""

import numpy as np
import pytest
from published import CASES

from vantage.evaluation.benchmarks import BENCHMARKS
from vantage.evaluation.measures import accuracies, hallusion, we_math
from vantage.evaluation.pass_at_k import average, pass_at_k, ratio


def items(name):
    return [BENCHMARKS[name].item(row, number) for number, (row, *_) in enumerate(CASES[name])]


def right(name):
    return np.array([[right] for *_, right in CASES[name]])


def means(found):
    return {name: pytest.approx(estimate.mean) for name, estimate in found.items()}


def test_we_math_by_hand():
    """2steps_1: both steps and the whole right: mastery. 2steps_2: both steps, not the whole:
    generalization. 2steps_3: one step and the whole: rote, loosely mastery. 3steps_1: no step,
    but the whole: rote. 3steps_2: two of three steps, not the whole: knowledge."""
    found = we_math(items("wemath"), right("wemath"))
    assert means(found) | {
        "strict": (1 + 0.5) / 5,
        "loose": (1 + 0.5 + 1) / 5,
        "complete mastery (strict)": 1 / 5,
        "complete mastery (loose)": 2 / 5,
        "rote memorization (strict)": 2 / 3,
        "rote memorization (loose)": 1 / 3,
        "inadequate generalization": 1 / 5,
        "insufficient knowledge": 1 / 5,
        "accuracy": 10 / 17,
        "steps: 2steps_multi": 2 / 3,
        "steps: 3steps_multi": 1 / 2,
    } == means(found)


def test_we_math_averages_over_samples():
    questions = items("wemath")
    one, none = right("wemath"), np.zeros((len(questions), 1), dtype=bool)
    both = we_math(questions, np.hstack([one, none]))
    assert both["strict"].mean == pytest.approx((1.5 / 5 + 0) / 2)
    assert both["insufficient knowledge"].mean == pytest.approx((1 / 5 + 1) / 2)
    assert both["rote memorization (strict)"].mean == pytest.approx(2 / 3)


def test_we_math_skips_problems_with_missing_questions():
    questions, rows = items("wemath"), right("wemath")
    assert we_math(questions[:-1], rows[:-1])["insufficient knowledge"].mean == 0
    assert we_math(questions[:-1], rows[:-1])["strict"].mean == pytest.approx(1.5 / 4)


def test_hallusionbench_by_hand():
    """Right: VD 0/0 both questions; 0/1 one of two; VD 1 0/0 yes, 1/0 no; VS 0 without a figure
    one of two, with one none; VS 1 without and with a figure."""
    found = hallusion(items("hallusionbench"), right("hallusionbench"))
    # Figures: VD 0/0 +, 0/1 -, 1/0 +, 1/1 -, VS 0/1 -, VS 1/1 +. Two more have no figure.
    # Pairs: VD 0 question 0 -, question 1 +; VD 1 -; VS 0 question 0 -, question 1 -; VS 1 +.
    assert means(found) | {
        "aAcc": 7 / 12,
        "fAcc": 3 / 6,
        "qAcc": 2 / 6,
        "accuracy": 7 / 12,
        "category: VD": 4 / 6,
        "category: VS": 3 / 6,
        "asked: with a figure": 5 / 9,
        "asked: without a figure": 2 / 3,
    } == means(found)


def test_a_figure_must_be_right_within_one_sample():
    questions = items("hallusionbench")[:2]  # of one figure
    apart = np.array([[True, False], [False, True]])
    together = np.array([[True, False], [True, False]])
    assert hallusion(questions, apart)["fAcc"].mean == 0
    assert hallusion(questions, together)["fAcc"].mean == 0.5
    assert hallusion(questions, apart)["aAcc"].mean == hallusion(questions, together)["aAcc"].mean


def test_part_accuracies_by_hand():
    found = accuracies(items("mathvision"), right("mathvision"))
    assert found["accuracy"].mean == pytest.approx(12 / 16)
    assert found["subject: area"].mean == pytest.approx(2 / 3)
    assert found["subject: logic"].mean == 1
    assert next(iter(found)) == "accuracy"
    twice = accuracies(items("mathvision"), np.repeat(right("mathvision"), 4, axis=1))
    assert [name for name in twice if name.startswith("pass@")] == ["pass@2", "pass@4"]


def test_the_standard_error_is_clustered():
    value_Q = np.array([1.0, 1.0, 0.0, 0.0])
    alone, paired = average(value_Q), average(value_Q, ["a", "a", "b", "b"])
    assert alone.mean == paired.mean == 0.5
    assert alone.error == pytest.approx(np.sqrt(4 * 0.25 * 4 / 3) / 4)
    # Sums of the clusters are 1 and -1; twice (1 + 1), the root of it over 4.
    assert paired.error == pytest.approx(np.sqrt(2 * 2) / 4)
    assert average(value_Q, ["a", "b", "c", "d"]) == alone
    assert average(value_Q, ["a"] * 4).error == 0
    assert pass_at_k(np.array([2, 0]), 2, 1, ["a", "b"]) == pass_at_k(np.array([2, 0]), 2, 1)


def test_a_ratio_and_its_error_by_hand():
    found = ratio(np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 2.0]))
    assert found.mean == 0.5
    assert found.error == pytest.approx(np.sqrt(0.25 + 0.25 + 0) / 4)
    assert np.isnan(ratio(np.zeros(2), np.zeros(2)).mean)
