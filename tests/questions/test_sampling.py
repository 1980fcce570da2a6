"""Samplings choose the next questions."""

import json
from collections import Counter

import numpy as np
import pytest

from vantage.errors import ConfigError
from vantage.questions.sampling import Asked, Shuffle, SkipSilent, sampling

SILENT, TELLING = np.ones(4), np.array([1.0, 0.0, 0.0, 1.0])


def numbers(asked: list[Asked]) -> list[int]:
    return [question for question, _ in asked]


SIZES = [(12, 4), (10, 4), (3, 8), (7, 7), (5, 1)]


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize(
    ("kind", "questions", "batch"),
    [*((Shuffle, *size) for size in SIZES), *((SkipSilent, *size) for size in SIZES[::3])],
)
def test_every_question_is_drawn_once_per_epoch(kind, questions, batch, seed):
    drawn = kind(questions, seed)
    asked = [each for _ in range(questions * 3) for each in drawn.draw(batch)]
    assert len(asked) == questions * 3 * batch
    assert [epoch for _, epoch in asked] == [n // questions for n in range(len(asked))]
    for epoch in range(3 * batch):
        of_epoch = asked[epoch * questions : (epoch + 1) * questions]
        assert Counter(numbers(of_epoch)) == Counter(range(questions))


def test_the_order_depends_on_seed_and_epoch_and_no_seed_keeps_it():
    def epochs(seed):
        drawn = Shuffle(20, seed)
        return [tuple(numbers(drawn.draw(20))) for _ in range(3)]

    assert len({*epochs(0), *epochs(1)}) == 6
    assert set(epochs(None)) == {tuple(range(20))}


@pytest.mark.parametrize("kind", [Shuffle, SkipSilent])
def test_the_same_questions_follow_after_a_json_round_trip_of_the_state(kind):
    def step(drawn):
        asked = drawn.draw(4)
        rewards = [SILENT if question % 3 else TELLING for question, _ in asked]
        drawn.record(asked, rewards)
        return asked

    unbroken, first = kind(10, 3), kind(10, 3)
    whole = [step(unbroken) for _ in range(12)]
    before = [step(first) for _ in range(5)]
    second = kind(10, 3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + [step(second) for _ in range(7)] == whole


def test_silent_questions_are_drawn_less_and_less_often():
    drawn = SkipSilent(100, 0, explore=0.5)
    shares = []
    for _ in range(6):  # questions below 50 are always silent
        start, seen = drawn.state_dict()["place"], Counter()
        while drawn.state_dict()["place"] < start + 100:
            asked = drawn.draw(1)
            drawn.record(asked, [SILENT if asked[0].question < 50 else TELLING])
            seen[asked[0].question < 50] += 1
        shares.append(seen[True] / 50)
        assert seen[False] == pytest.approx(50, abs=1)
    assert shares[0] == pytest.approx(1, abs=0.05)
    assert shares[1] == pytest.approx(0.5, abs=0.2)
    assert shares[-1] < 0.4


def test_a_question_that_is_no_longer_silent_is_always_drawn():
    drawn = SkipSilent(1, 0, explore=0.0)
    asked = drawn.draw(1)
    drawn.record(asked, [SILENT])
    assert not drawn._is_worthwhile(Asked(0, 1))
    drawn.record(asked, [np.zeros(0)])  # without a scored rollout, the count stays
    assert not drawn._is_worthwhile(Asked(0, 1))
    drawn.record(asked, [TELLING])
    assert drawn._is_worthwhile(Asked(0, 1))


def test_a_draw_has_no_repeats_while_other_questions_remain():
    drawn = SkipSilent(10, 0, explore=0.0)
    drawn.record(drawn.draw(10), [SILENT if n > 1 else TELLING for n in range(10)])
    assert len(set(numbers(drawn.draw(8)))) >= 3
    assert len(set(numbers(SkipSilent(10, 0).draw(10)))) == 10
    assert len(SkipSilent(3, 0).draw(8)) == 8


def test_after_a_skipped_epoch_the_next_question_is_drawn():
    drawn = SkipSilent(5, 0, explore=0.0)
    drawn.record(drawn.draw(5), [SILENT] * 5)
    assert len(drawn.draw(3)) == 3
    assert drawn.metrics()["skipped"] == 15
    assert drawn.metrics()["skipped"] == 0


def test_a_custom_sampling_is_loaded_from_its_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from vantage.questions.sampling import Asked, Shuffle\n"
        "class Backwards(Shuffle):\n"
        "    def draw(self, count):\n"
        "        return [Asked(self.questions - 1, 0)] * count\n"
    )
    drawn = sampling(f"{tmp_path}/mine.py:Backwards", 7, 0)
    assert drawn.draw(2) == [(6, 0), (6, 0)]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("shufle", "did you mean 'shuffle'"),
        ({"name": "skip-silent", "explore": 2}, "explore=2"),
        ({"name": "skip-silent", "explor": 0.5}, "explor"),
        ({"explore": 0.5}, "expected a name"),
    ],
)
def test_an_unknown_sampling_or_option_is_rejected(spec, words):
    with pytest.raises(ConfigError, match=words):
        sampling(spec, 5, 0)
