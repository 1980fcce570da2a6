"""Limits of the texts and images in a record."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vantage import config
from vantage.errors import ConfigError
from vantage.record import Keep
from vantage.record.bounds import kept, shortened

questions = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(np.array)


@given(questions, st.integers(0, 80))
def test_questions_are_kept_whole_and_within_the_bound(row_N, rollouts):
    kept_N = kept(row_N, rollouts)
    inside, outside = set(row_N[kept_N].tolist()), set(row_N[~kept_N].tolist())
    assert not inside & outside
    assert kept_N.sum() <= rollouts or len(inside) == 1
    assert kept_N.any() == (rollouts > 0)


@given(questions, st.integers(1, 80), st.data())
def test_a_kept_question_is_kept_in_any_smaller_batch(row_N, rollouts, data):
    kept_N = kept(row_N, rollouts)
    left_out = data.draw(st.sampled_from(sorted(set(row_N.tolist()))))
    others = row_N != left_out
    if others.any():
        inside = set(row_N[others & kept_N].tolist())
        assert inside <= set(row_N[others][kept(row_N[others], rollouts)].tolist())


@given(st.text(st.characters(), max_size=300), st.integers(100, 200))
def test_a_shortened_text_keeps_its_ends_and_is_valid_utf8(text, characters):
    short = shortened(text, characters)
    short.encode("utf-8")
    if len(text) <= characters:
        assert short == text.encode("utf-8", "backslashreplace").decode()
    else:
        assert f"[... {len(text) - characters:,} characters are not in the record ...]" in short
        assert len(short) < 6 * characters + 100


def test_a_shortened_text_loses_its_middle():
    assert shortened("a" * 60 + "b" * 60, 100) == (
        "a" * 50 + "\n[... 20 characters are not in the record ...]\n" + "b" * 50
    )


def test_defaults_agree_with_the_configuration():
    assert asdict(Keep()) == config.Keep().model_dump()


@pytest.mark.parametrize("given", [{"rollouts": -1}, {"characters": 99}, {"pixels": 0}], ids=str)
def test_error_names_a_limit_that_is_out_of_range(given):
    with pytest.raises(ConfigError, match=rf"{next(iter(given))}=-?\d+: expected"):
        Keep(**given)
