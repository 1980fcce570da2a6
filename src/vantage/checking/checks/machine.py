"""The local machine, if a run will start on it."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding
from vantage.checking.memory import GIB


def packages(context: Context) -> Iterator[Finding]:
    """Report missing requirements of the engine."""
    for words in context.machine.missing if context.machine else ():
        yield Finding("error", "machine", words)


@needs_rows
def gpu(context: Context) -> Iterator[Finding]:
    """Warn if the estimated memory exceeds that of the GPU."""
    available = context.machine.gpu if context.machine else None
    memory, sampler, run = context.memory, context.sampler, context.run
    if not available or memory is None or memory.fits(sampler, available):
        return
    sleep = ""
    if run.colocated and not run.colocated.sleeps:
        sleep = f"let {run.colocated.name} sleep ({run.colocated.switch}), "
    words = (
        f"an estimated {memory.beside(sampler, available) / GIB:.1f} GiB per process, but the GPU "
        f"has {available / GIB:.1f}: {sleep}lower batch.micro_batch or max_pixels, train adapters "
        f"(model.lora), or {run.more_gpus}"
    )
    yield Finding("warning", "memory", words)
