"""Rewards inside veRL's reward workers: the same functions as with TRL, one response a call."""

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
    """Each reward of one response, as veRL asks for them.

    Args:
        data_source, ground_truth: of veRL, not used.
        solution_str: the response.
        extra_info: "columns", the row of the data, "prompt", the conversation, and "opened",
            the tag that the chat template opened behind it.
        rewards: weights by name, as in the configuration; judge: whom "judge" asks.
        rest: of veRL, not used.

    Returns:
        A number by the name of each reward, NaN where it gave none, and "score", their weighted
        sum, 0 without one: what veRL validates by. The plan adds the parts up itself.
    """
    columns = {name: [value] for name, value in extra_info["columns"].items()}
    opened = extra_info.get("opened", "")
    asked = {
        "prompts": [extra_info["prompt"]],
        "completions": [judged([{"role": "assistant", "content": solution_str}], opened)],
        **columns,
    }
    weights = dict(rewards or {})
    asking = json.dumps(dict(judge), sort_keys=True) if judge else None
    given = [_number(_function(name, asking)(**asked)) for name in weights]
    (score,) = totals(np.array([given]), list(weights.values()))
    return {
        **dict(zip(part_names(weights), given, strict=True)),
        "score": float(np.nan_to_num(score)),
    }


@functools.cache
def _function(name: str, judge: str | None) -> Callable[..., Any]:
    return reward_of(name, parsed(Judge, json.loads(judge), "judge") if judge else None)


def _number(given: Any) -> float:
    values = asyncio.run(given) if inspect.iscoroutine(given) else given
    return math.nan if values[0] is None else float(values[0])
