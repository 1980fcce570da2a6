"""Computes rewards. If the user's code fails on one process, all processes stop together."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from trl.trainer import grpo_trainer

from vantage.errors import EngineError, InputError, first_line, some_names
from vantage.rewards.opening import judged, opened, opened_by
from vantage.training.stopping import StoppedError
from vantage.training.trl.turn import Turn

# (rows, prompts, completions) -> rewards of all processes by function, [N, F].
Score = Callable[[list, list, list], torch.Tensor]


def computed(
    turn: Turn, rows: list, completions: list, tag: str, score: Score, accelerator: Accelerator
) -> torch.Tensor:
    """Compute the rewards of all processes.

    Args:
        turn: The turn whose responses are scored.
        rows: Data rows with the extra fields of a rollout function.
        completions: The responses.
        tag: Tag that the chat template opened.
        score: Computes the rewards.
        accelerator: Accelerator of the run.

    Returns:
        Rewards by function, shape (N, F).

    Raises:
        StoppedError: A reward failed on some process.
    """
    failed: BaseException | None = None
    whole = with_opened_tag(turn.prompts, completions, tag)
    try:
        turn.part_NF = score(turn.rows(rows), turn.prompts, whole)
    except (Exception, SystemExit) as error:  # user code can raise anything
        failed = error
        # Take part in the gather that the other processes wait in.
        functions = len(turn.rewards)
        lost_NF = torch.full((len(completions), functions), math.nan, device=accelerator.device)
        accelerator.gather(lost_NF)
    stop_where_failed(failed and as_error_of_rewards(failed, turn.rewards))
    return turn.part_NF


def tag_of(processor: Any, options: Mapping[str, Any]) -> str:
    """The tag that the chat template opens after a prompt, such as <think>; empty without one."""
    there = options.get("chat_template") or getattr(processor, "chat_template", None)
    return opened_by(processor, **options) if there else ""


def with_opened_tag(prompts: list, completions: list, tag: str) -> list:
    """Prepend the tag that the chat template, or a plain-text prompt, opened.

    Args:
        prompts: Prompt of each completion.
        completions: The generated completions.
        tag: Tag that the chat template opens.
    """
    if prompts and isinstance(prompts[0], str):
        return [judged(*pair) for pair in zip(completions, map(opened, prompts), strict=True)]
    return [judged(completion, tag) for completion in completions]


def as_error_of_rewards(error: BaseException, names: Sequence[str]) -> BaseException:
    """Convert TRL's error about a reward's signature or result into an InputError.

    Errors raised by the reward itself are returned unchanged.
    """
    at = traceback.extract_tb(error.__traceback__)[-1].filename
    if at != grpo_trainer.__file__:
        return error
    return InputError(
        f"the rewards ({some_names(names)}) cannot be used: "
        f"{first_line(error).rstrip('.')}; a reward is called with prompts, "
        "completions and the columns of the data, and returns a list with a number or None for "
        "each completion"
    )


def stop_where_failed(error: BaseException | None) -> None:
    """Stop all processes if the user's code failed on one; all processes must call it together.

    Raises:
        StoppedError: The user's code failed on some process.
    """
    told = f"{type(error).__name__}: {error}" if error else None
    failed = [words for words in gather_object([told]) if words]
    if failed:
        raise StoppedError(error or EngineError(f"another process failed: {failed[0]}"))
