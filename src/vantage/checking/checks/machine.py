"""The estimated memory of training, and the local machine if a run will start on it."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context
from vantage.checking.findings import Finding
from vantage.checking.memory import GIB, GPUS


def memory(context: Context) -> Iterator[Finding]:
    """Note the smallest sufficient GPU."""
    run, needed, sampler = context.run, context.memory, context.sampler
    if needed is None:
        return
    enough = [gib for gib in GPUS if needed.fits(sampler, gib * GIB)]
    if not enough:
        words = (
            f"by the estimate, no GPU of up to {GPUS[-1]} GiB is enough: {run.more_gpus}, "
            "or train adapters (model.lora)"
        )
        yield Finding("note", "memory", words)
        return
    words = f"a GPU of {enough[0]} GiB is enough by the estimate"
    if run.cut.processes > 1:
        words = f"{run.cut.processes} GPUs of {enough[0]} GiB are enough by the estimate"
    if sampler:
        sleep = "sleeps" if sampler.sleeps else "does not sleep"
        share = f"{sampler.share:.0%} of {'each' if run.cut.processes > 1 else 'it'}"
        words += f", with {sampler.name}, which takes {share} and {sleep} during updates"
    yield Finding("note", "memory", words)


def packages(context: Context) -> Iterator[Finding]:
    """Report missing requirements of the engine."""
    for words in context.missing:
        yield Finding("error", "machine", words)


def gpu(context: Context) -> Iterator[Finding]:
    """Warn if the estimated memory exceeds that of the GPU."""
    available, needed, sampler, run = context.gpu, context.memory, context.sampler, context.run
    if not available or needed is None or needed.fits(sampler, available):
        return
    sleep = ""
    if run.colocated and not run.colocated.sleeps:
        sleep = f"let {run.colocated.name} sleep ({run.colocated.switch}), "
    words = (
        f"an estimated {needed.beside(sampler, available) / GIB:.1f} GiB per process, but the GPU "
        f"has {available / GIB:.1f}: {sleep}lower batch.micro_batch or max_pixels, train adapters "
        f"(model.lora), or {run.more_gpus}"
    )
    yield Finding("warning", "memory", words)
