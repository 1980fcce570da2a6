"""Updates of four groups, two of them without an advantage, against four groups that all train."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator

from update_step import Work, ratios, with_and_without_silent

from gpu.policy import TINY, model_of, processor
from gpu.results import Case, Numbers

WORK = Work("P 1,010, R 512, G 8", 896, 512)


def cases(tiny: bool) -> Iterator[Case]:
    """One case."""
    yield WORK.name, functools.partial(compare, TINY if tiny else WORK, tiny)


def compare(work: Work, tiny: bool) -> Numbers:
    """Seconds of an update of each kind, alternating in one process."""
    options = {"gradient_checkpointing": True, "learning_rate": 0.0, "optim": "sgd"}
    options |= {"model": model_of(tiny), "processor": processor(work, tiny)}
    seconds = with_and_without_silent(work, 1 if tiny else 3, **options)
    median, least, most = ratios(seconds["all"], seconds["half"])
    middle = {f"{name} s": statistics.median(each) for name, each in seconds.items()}
    return {"times faster": median, "least": least, "most": most, **middle}
