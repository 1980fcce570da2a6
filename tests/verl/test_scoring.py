"""Tests the rewards that veRL's workers compute, and the means of a validation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vantage.training.inputs import part_names
from vantage.training.verl.agent import media_tokens
from vantage.training.verl.recording import means_of_scored
from vantage.training.verl.scoring import compute_score

TINY = Path(__file__).parent / "tiny.py"
RIGHT = "<think>2 + 2</think>\\boxed{4}"


def scored(response: str, rewards: dict[str, float], **columns) -> dict[str, float]:
    info = {"columns": columns, "prompt": [{"role": "user", "content": "Add."}]}
    return compute_score("validation", response, "", info, rewards=rewards)


@pytest.mark.parametrize(
    ("response", "parts", "score"),
    [
        (RIGHT, {"accuracy": 1.0, "format": 1.0}, 1.0),
        ("\\boxed{4}", {"accuracy": 1.0, "format": 0.0}, 0.9),
        ("<think>2 + 2</think>\\boxed{5}", {"accuracy": 0.0, "format": 1.0}, 0.1),
        ("", {"accuracy": 0.0, "format": 0.0}, 0.0),
    ],
)
def test_the_score_is_the_weighted_sum_of_the_rewards(response, parts, score):
    found = scored(response, {"accuracy": 0.9, "format": 0.1}, answer="4")
    assert found.pop("score") == pytest.approx(score)
    assert found == parts


def test_a_reward_without_a_value_is_nan_and_the_score_is_0():
    found = scored(RIGHT, {"accuracy": 0.9, f"{TINY}:nothing": 0.1}, answer="4")
    assert math.isnan(found["nothing"]) and found["score"] == 0.0
    assert scored(RIGHT, {f"{TINY}:nothing": 1.0}, answer="4")["score"] == 0.0


def test_a_validation_excludes_unscored_responses():
    """Of four responses, one has no verdict of the judge, and one no format, whose weight is 0."""
    names = {name: f"val-core/validation/{name}/mean@2" for name in ("reward", "score", "judge")}
    names["format"] = "val-aux/validation/format/mean@2"
    metrics = dict.fromkeys([*names.values(), "val-aux/num_turns/mean"], 0.0)
    given = {"judge": [1.0, None, 0.0, 1.0], "format": [1.0, 1.0, math.nan, 0.5]}
    means = means_of_scored(metrics, given, {"judge": 0.9, "format": 0.0})
    expected = {"reward": 0.6, "score": 0.6, "judge": 2 / 3, "format": 2.5 / 3}
    assert means == pytest.approx({names[name]: value for name, value in expected.items()})
    with_both = means_of_scored(metrics, given, {"judge": 0.9, "format": 0.1})
    assert with_both[names["reward"]] == pytest.approx((1.0 + 0.95) / 2)
    none = {"judge": [None] * 4, "format": [1.0] * 4}
    assert math.isnan(means_of_scored(metrics, none, {"judge": 0.9, "format": 0.1})[names["score"]])


def test_rewards_are_named_by_their_function():
    names = ["accuracy", "mine.py:length", "other.py:length"]
    assert part_names(names) == ["accuracy", "length", "length #2"]


def test_media_tokens_come_from_the_processor(tiny):
    from verl.utils import hf_processor

    found = media_tokens(hf_processor(str(tiny / "vision")))
    tokenizer = hf_processor(str(tiny / "vision")).tokenizer
    assert found == sorted(tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"]))
    assert media_tokens(None) == []
