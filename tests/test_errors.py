"""Errors of libraries become sentences that name the user's input."""

import pytest

from vantage.chat.server import Settings
from vantage.errors import ConfigError, InputError, check_between, reading
from vantage.evaluation.sampling import Sampling


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RecursionError("too deep"), "model 'm' cannot be loaded: too deep"),
        (KeyError("a"), "model 'm' cannot be loaded: 'a'"),
        (ValueError("one\ntwo"), "model 'm' cannot be loaded: one"),
        (RuntimeError(), "model 'm' cannot be loaded: RuntimeError"),
        (MemoryError("x" * 1_000), f"model 'm' cannot be loaded: {'x' * 300}"),
    ],
)
def test_library_errors_become_one_line(error, words):
    with pytest.raises(ConfigError) as caught, reading("model 'm' cannot be loaded"):
        raise error
    assert str(caught.value) == words and caught.value.__cause__ is error


@pytest.mark.parametrize("error", [InputError("row 1"), KeyboardInterrupt(), SystemExit(3)])
def test_own_errors_and_exits_propagate(error):
    with pytest.raises(type(error)) as caught, reading("model 'm' cannot be loaded"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("value", [1, 2.5, 4])
def test_bounds_are_inclusive(value):
    check_between("n", value, 1, 4)


@pytest.mark.parametrize("value", [0.99, 5, -1, 10**30, float("nan"), float("inf")])
def test_value_out_of_bounds_is_named(value):
    with pytest.raises(ConfigError, match=r"^n=.*: expected 1 to 4$"):
        check_between("n", value, 1, 4)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: Sampling(samples=0), "samples"),
        (lambda: Sampling(samples=10**20), "samples"),
        (lambda: Sampling(temperature=float("nan")), "temperature"),
        (lambda: Sampling(max_tokens=-1), "max_tokens"),
        (lambda: Sampling(seed=2**40), "seed"),
        (lambda: Settings("http://a/v1", "m", timeout=float("nan")), "timeout"),
        (lambda: Settings("http://a/v1", "m", retries=10**9), "retries"),
        (lambda: Settings("http://a/v1", "m", temperature=-1), "temperature"),
        (lambda: Settings("http://a/v1", "m", per_minute=0), "requests_per_minute"),
    ],
)
def test_invalid_evaluation_numbers_raise(made, named):
    with pytest.raises(ConfigError, match=f"^{named}="):
        made()
