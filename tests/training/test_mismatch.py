"""The mismatch of sampler and trainer matches values computed by hand."""

import math

import numpy as np
import pytest

from vantage.training.mismatch import judge, mismatch, renormalisation, verdict


def test_mismatch_matches_hand_computed_values():
    # Trainer over sampler: 1/2, 1, 2.
    trainer_T = np.log([0.1, 0.3, 0.4])
    sampler_T = np.log([0.2, 0.3, 0.2])
    found = mismatch(trainer_T, sampler_T)
    two = math.log(2)
    assert found.kl == pytest.approx(((0.5 - 1 + two) + 0 + (2 - 1 - two)) / 3)  # 1/6
    assert found.difference == pytest.approx(2 * two / 3)
    assert found.largest_ratio == pytest.approx(2)
    assert found.tokens == 3
    assert found.metrics() == {
        "sampler/kl": found.kl,
        "sampler/difference": found.difference,
        "sampler/largest_ratio": found.largest_ratio,
    }


def test_equal_log_probs_have_no_mismatch():
    found = mismatch(np.log([0.5, 0.25]), np.log([0.5, 0.25]))
    assert (found.kl, found.difference, found.largest_ratio) == (0, 0, 1)
    assert judge(found, float32=True) is None


def test_without_tokens_nothing_is_logged_or_judged():
    found = mismatch(np.zeros(0), np.zeros(0))
    assert found.metrics() == {}
    assert judge(found, float32=True) is None


def test_arrays_of_different_lengths_raise():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        mismatch(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize(
    ("difference", "float32", "slack", "stopped"),
    [
        (1e-6, True, 0.0, False),
        (9e-4, True, 0.0, False),
        (0.021, True, 0.0, True),  # positions off by one
        (0.03, False, 0.0, False),  # rounding to bfloat16
        (0.11, False, 0.0, True),
        (1.33, False, 0.0, True),  # pictures expanded twice
        (0.01, True, -math.log(0.99), False),  # renormalised by top_p
        (0.012, True, -math.log(0.99), True),
        (5.0, True, math.inf, False),
        (math.nan, False, 0.0, True),
    ],
)
def test_the_limit_follows_precision_and_renormalisation(difference, float32, slack, stopped):
    sampler_T = np.full(4, -1.0)
    reason = judge(mismatch(sampler_T - difference, sampler_T), float32=float32, slack=slack)
    assert (reason is not None) == stopped
    if stopped:
        assert f"differ by {difference:.3g} on average over 4 sampled tokens" in reason


def test_top_p_bounds_the_mismatch():
    assert renormalisation(1.0) == 0
    assert renormalisation(0.5) == pytest.approx(math.log(2))
    assert renormalisation(1.0, top_k=-1, min_p=0.0) == 0
    assert renormalisation(1.0, top_k=50) == math.inf
    assert renormalisation(0.9, min_p=0.1) == math.inf


def test_the_verdict_names_family_versions_and_remedy():
    told = verdict(
        "they differ", family="qwen2_vl", packages=("numpy", "not-installed"), remedy="Set x."
    )
    assert told.startswith("they differ. ")
    assert f"models of type 'qwen2_vl' do not work with numpy {np.__version__}, or" in told
    assert told.endswith("Set x.")
    assert "not-installed" not in told
