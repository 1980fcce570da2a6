"""Whether the rewards pay for the reference answer, and for nothing else."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset
from transformers import TrainerState

from vantage.checking.findings import Level
from vantage.questions.reading import Reader
from vantage.rewards import REWARDS
from vantage.rewards.references import perfect

ASKED = 64  # rows; a reward of the user's own may be slow

Reward = Callable[..., Any]


def self_test(rewards: Mapping[str, Reward], rows: Dataset) -> list[tuple[Level, str, str]]:
    """What is wrong with the rewards: (level, reward, words).

    Of rewards here, a perfect response earns 1 and an empty one 0. What those of the user want
    is not known: the perfect response must earn more.

    Args:
        rewards: by name.
        rows: with `prompt` and `answer`; at most `ASKED` of them, spread evenly, are asked.
    """
    sample = rows.select(range(0, len(rows), -(-len(rows) // ASKED)))
    reader = Reader(sample)
    read = [reader.unread(reader[row]) for row in range(len(sample))]
    columns = {name: [row[name] for row in read] for name in sample.column_names}
    if "answer" not in columns:
        return []
    found: list = []
    for name, reward in rewards.items():
        try:
            best = earned(reward, columns, [perfect(answer) for answer in columns["answer"]])
            least = earned(reward, columns, [""] * len(sample))
        except (Exception, SystemExit) as error:  # whatever a reward of the user raises
            found.append(("error", name, f"failed on a response: {type(error).__name__}: {error}"))
            continue
        judge = _standard if name in REWARDS else _own
        found += [(level, name, words) for level, words in judge(best, least)]
    return found


def earned(reward: Reward, columns: Mapping[str, list], responses: list[str]) -> list[float | None]:
    """What responses earn, asked as TRL asks.

    Args:
        reward: a function with TRL's signature, or a coroutine function.
        columns: of the rows, a value a response.
        responses: texts.
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


def _standard(best: list, least: list) -> list[tuple[Level, str]]:
    found: list = []
    poor = [value for value in best if value != 1]
    if poor:
        of = f"{len(poor)} of {len(best)}"
        found.append(("error", f"{of} reference answers earn {poor[0]} in a perfect response"))
    paid = [value for value in least if value != 0]
    if paid:
        found.append(("error", f"an empty response earns {paid[0]}, expected nothing"))
    return found


def _own(best: list, least: list) -> list[tuple[Level, str]]:
    scored = [(b, w) for b, w in zip(best, least, strict=True) if b is not None and w is not None]
    flat = [b for b, w in scored if b <= w]
    if not scored:
        return [("warning", "it gave no reward at all to the responses of the self-test")]
    if not flat:
        return []
    words = (
        f"on {len(flat)} of {len(scored)} rows a perfect response (<think>, \\boxed) earns no "
        "more than an empty one"
    )
    return [("warning", f"{words}: fine only if it wants something else")]


async def _awaited(value: Any) -> Any:
    return await value
