"""Selects questions whose prompts are short enough to train on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tqdm.auto import tqdm

from vantage.errors import InputError, some
from vantage.questions.prompts import Prompts
from vantage.questions.schema import Question

logger = logging.getLogger(__name__)


def short_enough(
    prompts: Prompts, tokens_of: Callable[[Question], int], limit: int | None, policy: str
) -> list[int]:
    """Find the data rows whose longest prompt has at most `limit` tokens.

    Args:
        prompts: Prompts of the data rows.
        tokens_of: Returns the number of tokens of a prompt, including image tokens.
        limit: Maximum number of tokens; None for no limit, which measures nothing.
        policy: "error" raises an error for longer prompts, "skip" drops their questions.

    Returns:
        Row numbers.

    Raises:
        InputError: Some prompts are too long under the policy "error", or all of them are.
    """
    rows = range(len(prompts.rows))
    if limit is None:
        return list(rows)
    bar = tqdm(rows, desc="Measuring prompts", disable=len(rows) < 5_000)
    lengths = {row: tokens_of(prompts.longest(prompts.rows[row])) for row in bar}
    long = [row for row, length in lengths.items() if length > limit]
    if long and (policy == "error" or len(long) == len(lengths)):
        raise InputError(
            f"prompts of {len(long)} rows are longer than max_prompt_length={limit}: "
            f"rows {some(long)}, the longest has {max(lengths.values())} tokens; lower "
            "max_pixels, raise the limit, or set on_long_prompt to 'skip'"
        )
    if long:
        logger.warning(
            f"dropped {len(long)} of {len(rows)} questions whose prompts are too long: {some(long)}"
        )
    return [row for row in rows if lengths[row] <= limit]
