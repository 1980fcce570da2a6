"""Self-test of the rewards: reference answers against empty responses."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from datasets import Dataset
from transformers import TrainerState

from vantage.checking.findings import Finding, Level
from vantage.questions.reading import Reader
from vantage.rewards import REWARDS
from vantage.rewards.references import perfect

ASKED = 64  # maximum rows, since custom rewards may be slow

Reward = Callable[..., Any]


def self_test(rewards: Mapping[str, Reward], rows: Dataset) -> Iterator[Finding]:
    """Score known responses and report the rewards that do not tell them apart.

    A built-in reward must give 1 to a perfect response and 0 to an empty one. What a custom reward
    measures is unknown, so it must only give more to the perfect response.

    Args:
        rewards: Reward functions by name.
        rows: Data set with `prompt` and `answer`; at most `ASKED` evenly spaced rows are used.
    """
    sample = rows.select(range(0, len(rows), -(-len(rows) // ASKED)))
    reader = Reader(sample)
    read = [reader.unread(reader[row]) for row in range(len(sample))]
    columns = {name: [row[name] for row in read] for name in sample.column_names}
    if "answer" not in columns:
        return
    for name, reward in rewards.items():
        try:
            best = earned(reward, columns, [perfect(answer) for answer in columns["answer"]])
            least = earned(reward, columns, [""] * len(sample))
        except (Exception, SystemExit) as error:  # custom rewards may raise anything
            words = f"reward {name!r}: failed on a response: {type(error).__name__}: {error}"
            yield Finding("error", "rewards", words)
            continue
        for level, words in (_standard if name in REWARDS else _own)(best, least):
            yield Finding(level, "rewards", f"reward {name!r}: {words}")


def earned(reward: Reward, columns: Mapping[str, list], responses: list[str]) -> list[float | None]:
    """Score responses by calling a reward function with TRL's signature.

    Args:
        reward: A function or a coroutine function.
        columns: Columns of the rows, with one value per response.
        responses: Response texts.

    Returns:
        One reward per response; None if the function gives none.

    Raises:
        ValueError: The function returns a different number of rewards than responses.
    """
    spoken = [[{"role": "assistant", "content": text}] for text in responses]
    talk = not isinstance(columns["prompt"][0], str)
    others = {name: values for name, values in columns.items() if name != "prompt"}
    given = reward(
        prompts=columns["prompt"],
        completions=spoken if talk else responses,
        completion_ids=[[] for _ in responses],
        trainer_state=TrainerState(),
        log_extra=lambda *_: None,
        log_metric=lambda *_: None,
        **others,
    )
    values = asyncio.run(_awaited(given)) if inspect.isawaitable(given) else given
    if len(values) != len(responses):
        raise ValueError(f"{len(values)} rewards for {len(responses)} responses")
    return [None if value is None else float(value) for value in values]


def _standard(best: list, least: list) -> Iterator[tuple[Level, str]]:
    poor = [value for value in best if value != 1]
    if poor:
        of = f"{len(poor)} of {len(best)}"
        yield "error", f"{of} reference answers earn {poor[0]} in a perfect response"
    paid = [value for value in least if value != 0]
    if paid:
        yield "error", f"an empty response earns {paid[0]}, expected 0"


def _own(best: list, least: list) -> Iterator[tuple[Level, str]]:
    scored = [(b, w) for b, w in zip(best, least, strict=True) if b is not None and w is not None]
    flat = [b for b, w in scored if b <= w]
    if not scored:
        yield "warning", "it returned no reward for any response of the self-test"
    if flat:
        yield (
            "warning",
            f"on {len(flat)} of {len(scored)} rows a perfect response (<think>, \\boxed) earns no "
            "more than an empty one: fine only if it does not reward correct answers",
        )


async def _awaited(value: Any) -> Any:
    return await value
