"""What the machine at hand has for a run."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vantage.checking.findings import CheckReport, Finding
from vantage.checking.memory import GIB
from vantage.training.resolved import Resolved


def lacks(report: CheckReport, run: Resolved) -> Iterator[Finding]:
    """Memory of its GPU, where the estimate needs more.

    Args:
        report: what a check of the run found.
        run: the run.
    """
    gpu = gpu_memory()
    if not gpu or not report.memory or report.memory.fits(report.sampler, gpu):
        return
    needed = report.memory.beside(report.sampler, gpu)
    sleep = ""
    if run.colocated and not run.colocated.sleeps:
        sleep = f"let {run.colocated.name} sleep ({run.colocated.switch}), "
    words = (
        f"an estimated {needed / GIB:.1f} GiB on one process, the GPU has {gpu / GIB:.1f}: "
        f"{sleep}lower batch.forward or max_pixels, train adapters (model.lora), or {run.more_gpus}"
    )
    yield Finding("warning", "memory", words)


def gpu_memory() -> int | None:
    """Bytes of the first GPU; None without one."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(0).total_memory
