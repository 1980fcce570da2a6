"""Questions whose prompts are short enough to be trained."""

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
    """Rows of the data whose longest prompt has at most `limit` tokens.

    Args:
        prompts: the rows, and how they are asked.
        tokens_of: number of tokens of a prompt, image tokens included.
        limit: None for no limit; then nothing is measured.
        policy: "error" to raise an error, "skip" to leave questions with longer prompts out.

    Raises:
        InputError: prompts are longer, and the policy refuses them or no others are left.
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
            f"rows {some(long)}, the longest {max(lengths.values())} tokens; lower "
            "max_pixels, raise the limit, or set on_long_prompt to 'skip'"
        )
    if long:
        logger.warning(f"dropped {len(long)} of {len(rows)} questions, too long: {some(long)}")
    return [row for row in rows if lengths[row] <= limit]
