"""What the machine at hand lacks for a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available
from trl.import_utils import is_vllm_available

from vantage.checking.findings import CheckReport, Finding
from vantage.checking.memory import GIB, Cut
from vantage.config import Config
from vantage.errors import ConfigError
from vantage.training.trl.run import arguments

FLASH = {
    "flash_attention_2": is_flash_attn_2_available,
    "flash_attention_3": is_flash_attn_3_available,
}


def lacks(config: Config, report: CheckReport) -> Iterator[Finding]:
    """Options that do not work here, packages that are missing, and memory.

    Args:
        config: of the run.
        report: what a check of it found.
    """
    try:
        arguments(config)
    except ConfigError as error:
        yield Finding("error", "machine", str(error))
    if config.trl.get("use_vllm") and not is_vllm_available():
        words = "trl.use_vllm: vllm is missing: pip install -e '.[vllm]'"
        yield Finding("error", "machine", words)
    attention = (config.trl.get("model_init_kwargs") or {}).get("attn_implementation")
    yield from _attention(attention or config.model.attention)
    if config.optimizer.weights == "bfloat16" and not find_spec("optimi"):
        words = "optimizer.weights: torch-optimi is missing: pip install torch-optimi"
        yield Finding("error", "machine", words)
    gpu = gpu_memory()
    if gpu and report.memory and not report.memory.fits(report.sampler, gpu):
        needed = report.memory.beside(report.sampler, gpu)
        sleep = ""
        if report.sampler and not report.sampler.sleeps:
            sleep = "let vLLM sleep (trl.vllm_enable_sleep_mode), "
        words = (
            f"an estimated {needed / GIB:.1f} GiB on one process, the GPU has {gpu / GIB:.1f}: "
            f"{sleep}lower batch.forward or max_pixels, train adapters (model.lora), or cut the "
            "model over several GPUs (recipes/accelerate)"
        )
        yield Finding("warning", "memory", words)


def cut_here() -> Cut:
    """How the processes that `accelerate launch` started share a model."""
    processes = PartialState().num_processes
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return Cut(processes, "fsdp")
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        return Cut(processes, "zero", int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2)))
    return Cut(processes)


def _attention(kind: str | None) -> Iterator[Finding]:
    """FlashAttention, where it is wanted and missing."""
    there = FLASH.get(kind or "")
    if there and not there():
        words = f"model.attention: {kind} is missing, or has no GPU here; try sdpa"
        yield Finding("error", "machine", words)


def gpu_memory() -> int | None:
    """Bytes of the first GPU; None without one."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(0).total_memory
