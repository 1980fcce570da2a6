"""Sampling with the architecture of Qwen2.5-VL-3B: one forward over each prompt, or `generate`."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator

from generation import Work, compare
from update_step import ratios

from gpu.policy import model_of, processor
from gpu.results import Case, Numbers

WORKS = (
    Work("P 1,010, R 256, G 8", 896, 256),
    Work("P 1,010, R 256, G 8, ragged", 896, 256, ragged=True),
)
TINY = (Work("tiny", 28, 8), Work("tiny, ragged", 28, 8, ragged=True))


def cases(tiny: bool) -> Iterator[Case]:
    """Responses of equal length, and ragged ones."""
    model = model_of(tiny).eval()
    for work in TINY if tiny else WORKS:
        yield work.name, functools.partial(measure, model, work, tiny)


def measure(model, work: Work, tiny: bool) -> Numbers:
    """Tokens per second of both sides."""
    seconds = compare(model, processor(work, tiny), work, turns=2)
    median, least, most = ratios(seconds["generate"], seconds["ours"])
    speed = {f"{name} tokens/s": 1 / statistics.median(each) for name, each in seconds.items()}
    return {"times faster": median, "least": least, "most": most, **speed}
