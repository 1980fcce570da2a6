"""The accuracy reward against a teacher's verdicts on more than 200 answers."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PAIRS

from vantage.rewards import accuracy
from vantage.rewards.accuracy import correct


@pytest.mark.parametrize(("answer", "reference", "right"), PAIRS)
def test_verdicts_match_the_teacher(answer, reference, right):
    assert correct(answer, reference) is right


def test_there_are_enough_pairs_without_duplicates():
    assert len({pair[:2] for pair in PAIRS}) == len(PAIRS) >= 200
    assert 0.3 < sum(right for *_, right in PAIRS) / len(PAIRS) < 0.7


def test_another_thread_gives_the_same_verdicts():
    found = []
    every = PAIRS[::5]
    asked = [correct, [pair[:2] for pair in every]]
    worker = threading.Thread(target=lambda: found.extend(asked[0](*pair) for pair in asked[1]))
    worker.start()
    worker.join(120)
    assert found == [right for *_, right in every]


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_answer_gets_a_verdict(answer, reference):
    (reward,) = accuracy([f"\\boxed{{{answer}}}"], answer=[reference])
    assert reward in (0.0, 1.0)
