"""Importance sampling correction: ratios by hand, metrics, and who scores which rollout."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vantage.training.trl import correction

# Differences log(4), log(1/2) and log(1/4); the last token of the second response is padding.
OWN = torch.tensor([[-1.0, -2.0], [-3.0, 7.0]])
APART = torch.tensor([[4.0, 0.5], [0.25, 1.0]]).log()
MASK = torch.tensor([[1, 1], [1, 0]])


def options(mode: str, low=None, high=None):
    return SimpleNamespace(
        vllm_importance_sampling_mode=mode,
        vllm_importance_sampling_clip_min=low,
        vllm_importance_sampling_clip_max=high,
    )


@pytest.mark.parametrize(
    "mode, low, high, expected",
    [
        ("token_truncate", None, None, [[4.0, 0.5], [0.25, 1.0]]),
        ("token_truncate", 0.4, 3.0, [[3.0, 0.5], [0.4, 1.0]]),
        ("token_mask", None, 3.0, [[0.0, 0.5], [0.25, 1.0]]),
        ("token_mask", 0.3, None, [[4.0, 0.5], [0.0, 1.0]]),
        ("sequence_truncate", None, 1.5, [[1.5], [0.25]]),
        ("sequence_mask", None, 1.5, [[0.0], [0.25]]),
        ("sequence_mask", 0.3, None, [[2.0], [0.0]]),
    ],
)
def test_ratios_match_hand_computed_values(mode, low, high, expected):
    found = correction.ratios(OWN, OWN - APART, MASK, options(mode, low, high))
    assert torch.allclose(found, torch.tensor(expected))


def test_tokens_without_a_sampling_log_prob_are_not_corrected():
    sampling = OWN - APART
    sampling[0, 0] = math.nan
    found = correction.ratios(OWN, sampling, MASK, options("token_truncate"))
    assert torch.allclose(found, torch.tensor([[1.0, 0.5], [0.25, 1.0]]))
    found = correction.ratios(OWN, sampling, MASK, options("sequence_truncate"))
    assert torch.allclose(found, torch.tensor([[0.5], [0.25]]))


def test_metrics_are_of_the_tokens_that_count():
    sampling = OWN - APART
    sampling[0, 1] = math.nan
    ratio = correction.ratios(OWN, sampling, MASK, options("token_truncate"))
    found = correction.metrics(OWN, sampling, MASK, ratio)
    assert found == pytest.approx(
        {
            "sampling/sampling_logp_difference/mean": math.log(4),
            "sampling/sampling_logp_difference/max": math.log(4),
            "sampling/importance_sampling_ratio/min": 0.25,
            "sampling/importance_sampling_ratio/mean": (4 + 1 + 0.25) / 3,
            "sampling/importance_sampling_ratio/max": 4.0,
        }
    )
    unknown = correction.metrics(OWN, torch.full_like(OWN, math.nan), MASK, torch.ones(2, 2))
    assert set(unknown.values()) == {0.0, 1.0}
    assert unknown["sampling/importance_sampling_ratio/mean"] == 1.0
    nothing = correction.metrics(OWN, sampling, torch.zeros_like(MASK), ratio)
    assert nothing == unknown


KEYS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=8)


@given(st.lists(KEYS, min_size=1, max_size=3), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_each_trained_rollout_has_one_owner(dealt, asked):
    own_keys = [(prompt, rollout) for rollout, prompt in enumerate(asked)]
    owned = correction.owners(own_keys, dealt)
    every = [key for keys in owned for key in keys]
    assert sorted(rollout for _, rollout in every) == sorted(
        {rollout for keys in dealt for _, rollout in keys}
    )
    assert set(every) <= set(own_keys)
    # A process that trains the rollout under its own prompt anyway scores it.
    for key in every:
        having = [number for number, keys in enumerate(dealt) if key in keys]
        assert not having or key in owned[having[0]]
