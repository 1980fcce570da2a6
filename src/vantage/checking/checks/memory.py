"""The estimated memory of training."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding
from vantage.checking.memory import GIB, GPUS


@needs_rows
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
