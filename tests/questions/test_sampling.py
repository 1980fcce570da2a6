"""Which questions come next."""

from collections import Counter

import pytest

from vantage.questions.sampling import Shuffle


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize(("questions", "batch"), [(12, 4), (10, 4), (3, 8), (7, 7), (5, 1)])
def test_every_question_comes_once_an_epoch_and_none_is_dropped(questions, batch, seed):
    shuffle = Shuffle(questions, batch, seed)
    asked = [number for place in range(questions * 3) for number in shuffle.ids(place)]
    assert all(len(shuffle.ids(place)) == batch for place in range(5))
    for epoch in range(3 * batch):
        of_epoch = asked[epoch * questions : (epoch + 1) * questions]
        assert Counter(of_epoch) == Counter(range(questions))


def test_a_batch_follows_from_its_number_alone():
    first, second = Shuffle(10, 4, 1), Shuffle(10, 4, 1)
    in_order = [first.ids(number) for number in range(8)]
    backwards = [second.ids(number) for number in reversed(range(8))]
    assert in_order == backwards[::-1]


def test_seeds_and_epochs_differ_and_no_seed_keeps_the_order():
    def epochs(seed):
        return [tuple(Shuffle(20, 20, seed).ids(number)) for number in range(3)]

    assert len({*epochs(0), *epochs(1)}) == 6
    assert set(epochs(None)) == {tuple(range(20))}
