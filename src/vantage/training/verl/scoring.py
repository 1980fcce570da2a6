"""Calls the reward functions in veRL's reward workers, with one response per call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vantage.config import Judge
from vantage.rewards.opening import judged
from vantage.sections import parsed
from vantage.training.inputs import part_names, reward_of
from vantage.training.planning import totals


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any],
    rewards: Mapping[str, float] | None = None,
    judge: Mapping[str, Any] | None = None,
    **rest: Any,
) -> dict[str, float]:
    """Compute the rewards of one response, with veRL's signature.

    Args:
        data_source, ground_truth: Not used.
        solution_str: Text of the response.
        extra_info: "columns", the data row; "prompt", the conversation; "opened", the tag that the
            chat template adds after the prompt.
        rewards: Name of a reward function -> weight.
        judge: Section `judge` of the configuration, for the reward function "judge".
        rest: Not used.

    Returns:
        Value of each reward function by name, NaN if it returned none; and "score", the total
        reward, 0 if it is missing. Only veRL's validation uses "score": the plan computes the total
        from the values.
    """
    columns = {name: [value] for name, value in extra_info["columns"].items()}
    opened = extra_info.get("opened", "")
    arguments = {
        "prompts": [extra_info["prompt"]],
        "completions": [judged([{"role": "assistant", "content": solution_str}], opened)],
        **columns,
    }
    weights = dict(rewards or {})
    section = json.dumps(dict(judge), sort_keys=True) if judge else None
    values = [_number(_function(name, section)(**arguments)) for name in weights]
    (score,) = totals(np.array([values]), list(weights.values()))
    return {
        **dict(zip(part_names(weights), values, strict=True)),
        "score": float(np.nan_to_num(score)),
    }


@functools.cache
def _function(name: str, judge: str | None) -> Callable[..., Any]:
    """Load a reward function; `judge` is the section as JSON, which can be hashed."""
    return reward_of(name, parsed(Judge, json.loads(judge), "judge") if judge else None)


def _number(result: Any) -> float:
    """Value that a reward function, possibly asynchronous, returned for one response."""
    values = asyncio.run(result) if inspect.iscoroutine(result) else result
    return math.nan if values[0] is None else float(values[0])
