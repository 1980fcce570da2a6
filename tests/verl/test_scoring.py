"""Rewards as veRL's workers ask for them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vantage.training.inputs import part_names
from vantage.training.verl.agent import media_tokens
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
def test_the_score_is_the_weighted_sum_that_is_trained(response, parts, score):
    found = scored(response, {"accuracy": 0.9, "format": 0.1}, answer="4")
    assert found.pop("score") == pytest.approx(score)
    assert found == parts


def test_a_reward_without_a_number_is_nan_and_leaves_no_score():
    found = scored(RIGHT, {"accuracy": 0.9, f"{TINY}:nothing": 0.1}, answer="4")
    assert math.isnan(found["nothing"]) and found["score"] == 0.0
    assert scored(RIGHT, {f"{TINY}:nothing": 1.0}, answer="4")["score"] == 0.0


def test_parts_are_named_by_their_function():
    names = ["accuracy", "mine.py:length", "other.py:length"]
    assert part_names(names) == ["accuracy", "length", "length #2"]


def test_the_processor_says_which_tokens_stand_for_pictures(tiny):
    from verl.utils import hf_processor

    found = media_tokens(hf_processor(str(tiny / "vision")))
    tokenizer = hf_processor(str(tiny / "vision")).tokenizer
    assert found == sorted(tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"]))
    assert media_tokens(None) == []
