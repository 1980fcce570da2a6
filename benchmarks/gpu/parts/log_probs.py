"""Log-probs of a group before the updates: one pack against a batch of rows."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from update_step import Work

from gpu.chip import seconds_of
from gpu.policy import TINY, Group, model_of
from gpu.results import Case, Numbers

WORKS = (Work("R 512", 896, 512), Work("R 2,048", 896, 2048))


def cases(tiny: bool) -> Iterator[Case]:
    """Short and long responses."""
    model = model_of(tiny).eval()
    for work in (TINY,) if tiny else WORKS:
        group = Group.of(work, tiny)
        name = f"P {group.prompt}, R {work.response}, G {work.group}"
        yield name, functools.partial(compare, model, group)


def compare(model, group: Group) -> Numbers:
    """Seconds of both ways."""
    count = len(group.responses_GR)
    rows, packs = (
        seconds_of(functools.partial(group.log_probs, model, group.packs(sizes)), 3)
        for sizes in ([1] * count, [count])
    )
    return {"times faster": rows / packs, "rows s": rows, "packs s": packs}
