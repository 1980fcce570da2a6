"""Temporary values of attributes."""

import pytest

from vantage.scoped import scoped


class Owner:
    shared = 1

    def __init__(self):
        self.own = 2

    def method(self):
        return self.own


def test_values_are_restored_after_an_error():
    owner = Owner()
    with pytest.raises(KeyError), scoped(owner, own=3, shared=4):
        assert (owner.own, owner.shared) == (3, 4)
        raise KeyError
    assert (owner.own, owner.shared) == (2, 1)


def test_hidden_attributes_of_the_class_are_not_left_on_the_instance():
    owner = Owner()
    with scoped(owner, method=lambda: 5, shared=4):
        assert (owner.method(), owner.shared) == (5, 4)
    assert vars(owner) == {"own": 2}
    assert owner.method() == 2
