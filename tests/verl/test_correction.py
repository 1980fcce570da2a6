"""Tests the rollout correction of shared rows with values computed by hand, and its options."""

from __future__ import annotations

import math

import pytest
import torch
from omegaconf import OmegaConf

from vantage.errors import ConfigError
from vantage.training.verl.correction import correction
from vantage.training.verl.launch import engine_config
from vantage.training.verl.mismatch import in_float32, slack

# Two rollouts. Ratios of trainer and sampler: 1/2 and 3 for the first, 1.25 for the second.
OWN = {
    "response_mask": torch.tensor([[1, 1], [1, 0]]),
    "old_log_probs": torch.tensor([[0.1, 0.6], [0.5, 1.0]]).log(),
    "rollout_log_probs": torch.tensor([[0.2, 0.2], [0.4, 1.0]]).log(),
}
# Rollout of each trained row: each rollout is trained under two prompts.
ROWS = [0, 1, 0, 1]


def corrected(**options):
    defaults = {"rollout_is": None, "rollout_is_threshold": 2.0, "rollout_rs": None}
    return correction(OWN, ROWS, OmegaConf.create({**defaults, **options}))


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"rollout_is": "token"}, [0.5, 2.0], [1.25, 0.0]),  # 3 is above the threshold
        ({"rollout_is": "sequence"}, [1.5, 1.5], [1.25, 0.0]),
        ({"rollout_is": "token", "rollout_is_threshold": "0.6_4"}, [0.0, 3.0], [1.25, 0.0]),
        # Normalized by the mean over the 3 tokens of the rollouts: (0.5 + 2 + 1.25) / 3.
        ({"rollout_is": "token", "rollout_is_batch_normalize": True}, [0.4, 1.6], [1.0, 0.0]),
    ],
)
def test_every_row_of_a_rollout_has_the_weights_under_its_own_prompt(options, first, second):
    fields, metrics = corrected(**options)
    expected = torch.tensor([first, second, first, second])
    assert torch.allclose(fields["rollout_is_weights"], expected, atol=1e-6)
    assert fields["response_mask"].tolist() == [[1, 1], [1, 0], [1, 1], [1, 0]]
    assert metrics["rollout_corr/kl"] == pytest.approx(-math.log(0.5 * 3 * 1.25) / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"rollout_rs": "token_k1", "rollout_rs_threshold": "0.4_2.5"}, [1, 0], [1, 0]),
        ({"rollout_rs": "seq_sum_k1", "rollout_rs_threshold": "0.7_2"}, [0, 0], [1, 0]),
        ({"rollout_rs": "seq_sum_k1", "rollout_rs_threshold": "0.6_2"}, [1, 1], [1, 0]),
    ],
)
def test_a_rejected_token_is_rejected_in_every_row_of_its_rollout(options, first, second):
    fields, _ = corrected(**options)
    assert fields["response_mask"].tolist() == [first, second, first, second]
    assert set(fields) == {"response_mask"}


CORRECTION = "verl__algorithm__rollout_correction__"
ROLLOUT = "verl__actor_rollout_ref__rollout__"
SEQUENCE = {f"{CORRECTION}rollout_is": "sequence"}
TOP_P = {"generation__top_p": 0.99, f"{ROLLOUT}name": "vllm"}
REJECTED = {
    f"{CORRECTION}rollout_rs": "token_k1,seq_mean_k1",
    f"{CORRECTION}rollout_rs_threshold": "0.5_2",
}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({**TOP_P, **SEQUENCE}, ["rollout_is='sequence'", "top_p=0.99", "generation.top_p: 1"]),
        ({**TOP_P, **REJECTED}, ["rollout_rs='token_k1,seq_mean_k1'", "vllm", "rollout_is: token"]),
        (
            {**SEQUENCE, f"{ROLLOUT}top_k": 50},
            ["top_k=50", "verl.actor_rollout_ref.rollout.top_k: -1"],
        ),
        ({**SEQUENCE, f"{ROLLOUT}top_p": 0.9}, ["top_p=0.9"]),
    ],
)
def test_sequence_level_correction_of_renormalised_log_probs_is_an_error(options, words, settings):
    with pytest.raises(ConfigError) as caught:
        engine_config(settings(**options))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        TOP_P,  # the published recipes: no correction
        {**TOP_P, f"{CORRECTION}rollout_is": "token"},
        SEQUENCE,
        {**TOP_P, **SEQUENCE, f"{ROLLOUT}name": "sglang"},  # log-probs before truncation
        {**TOP_P, **SEQUENCE, f"{ROLLOUT}logprobs_mode": "raw_logprobs"},
    ],
)
def test_other_corrections_are_allowed(options, settings):
    engine_config(settings(**options))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.0),
        (TOP_P, -math.log(0.99)),
        ({**TOP_P, f"{ROLLOUT}logprobs_mode": "raw_logprobs"}, 0.0),
        ({**TOP_P, f"{ROLLOUT}name": "sglang"}, 0.0),
        ({f"{ROLLOUT}top_k": 20}, math.inf),
    ],
)
def test_the_canary_allows_for_renormalised_log_probs(options, expected, settings):
    config = engine_config(settings(**options))
    assert slack(config.actor_rollout_ref.rollout) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model__dtype": "float32"}, True),
        ({"model__dtype": "auto"}, False),
        ({"model__dtype": "bfloat16"}, False),
        ({"model__dtype": "float32", f"{ROLLOUT}dtype": "bfloat16"}, False),
    ],
)
def test_the_canary_is_strict_if_sampler_and_trainer_compute_in_float32(
    options, expected, settings
):
    assert in_float32(engine_config(settings(**options))) == expected
