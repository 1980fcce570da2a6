"""Resolves a configuration to TRL's settings, and reports missing packages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from accelerate.utils import parse_flag_from_env
from transformers import ProcessorMixin
from transformers.integrations import get_available_reporting_integrations
from transformers.utils import (
    is_flash_attn_2_available,
    is_flash_attn_3_available,
    is_liger_kernel_available,
)
from trl.import_utils import is_vllm_available
from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
from trl.trainer import grpo_trainer
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as VOCABULARY_CHUNK

from vantage.checking.context import Check
from vantage.config import Config
from vantage.errors import ConfigError, reading
from vantage.questions.schema import taken
from vantage.training import columns
from vantage.training.inputs import processes
from vantage.training.resolved import Colocated, Cut, Forward, Resolved, Tokenize
from vantage.training.shape import Shape
from vantage.training.trl import precision, values
from vantage.training.trl.config import VantageConfig
from vantage.training.trl.loading import config_source
from vantage.training.trl.run import arguments, check_run

__all__ = ["CHECKS", "check_run", "missing_packages", "resolve"]

FLASH = {
    "flash_attention_2": is_flash_attn_2_available,
    "flash_attention_3": is_flash_attn_3_available,
}
# TRL needs no checks of its own.
CHECKS: tuple[Check, ...] = ()
TILE = (TOKEN_CHUNK_SIZE, VOCABULARY_CHUNK)


def resolve(config: Config) -> Resolved:
    """Resolve a configuration to TRL's settings; needs no GPU.

    Raises:
        ConfigError: As `vantage.training.trl.run.arguments`.
    """
    cut = cut_here()
    args = planned(config)
    options = args.chat_template_kwargs or {}
    limits = [limit for limit in (args.max_prompt_length, args.room) if limit]
    return Resolved(
        config,
        shape_of(args),
        args.build_prompts,
        min(limits, default=None),
        args.on_long_prompt,
        precision.chosen(config, has_bfloat16=args.bf16),
        _forward(config, args),
        limit_validation=args.room,
        cut=cut,
        steps=precision.steps(args),
        kept_in=precision.kept_in(config, args),
        loading=config_source(args),
        template_options=options,
        tokenizer=partial(tokenizer_of, template_options=options),
        check_model=partial(values.check_model, args),
        supplied=columns.FROM_TRL,
        colocated=_colocated(args),
        more_gpus="shard the model over several (recipes/accelerate)",
    )


def missing_packages(config: Config) -> Iterator[str]:
    """Yield a sentence for each missing package and option that this machine does not support."""
    try:
        arguments(config)
    except ConfigError as error:
        yield str(error)
    if config.trl.get("use_vllm") and not is_vllm_available():
        yield "trl.use_vllm: vllm is missing: pip install 'vantage-rl[vllm]'"
    own = (config.trl.get("model_init_kwargs") or {}).get("attn_implementation")
    kind = own or config.model.attention or ""
    if kind in FLASH and not FLASH[kind]():
        yield f"model.attention: {kind} is missing, or has no GPU here; try sdpa"
    for name in set(config.run.report_to) - set(get_available_reporting_integrations()):
        yield f"run.report_to: {name} is missing: pip install {name}"
    if config.trl.get("use_liger_kernel") and not is_liger_kernel_available():
        yield "trl.use_liger_kernel: liger-kernel is missing: pip install liger-kernel"
    if config.optimizer.weights == "bfloat16" and not find_spec("optimi"):
        yield "optimizer.weights: torch-optimi is missing: pip install torch-optimi"


def planned(config: Config) -> VantageConfig:
    """Build TRL's options for a run; needs no GPU.

    Raises:
        ConfigError: As `vantage.training.trl.run.arguments`.
    """
    given = values.checked(config.trl)
    there = {name: value for name, value in given.items() if name != "tf32"}
    # Assume that the training GPU supports bfloat16.
    forward = precision.chosen(config, has_bfloat16=not config.trl.get("use_cpu")).forward
    model = config.model.model_copy(update={"dtype": forward})
    return arguments(config.model_copy(update={"model": model, "trl": {**there, "use_cpu": True}}))


def shape_of(args: VantageConfig) -> Shape:
    """Sizes of the rollout batch under TRL's options."""
    prompts, rollouts = args.build_variants().prompts, args.num_generations
    questions = args.generation_batch_size // (prompts * rollouts)
    return Shape(questions, prompts, rollouts, args.updates, args.num_iterations)


def tokenizer_of(processor: Any, template_options: dict[str, Any] | None = None) -> Tokenize:
    """Tokenize prompts with the method that the trainer calls.

    Args:
        processor: Processor or tokenizer of the model.
        template_options: TRL's `chat_template_kwargs`.
    """
    # A stub with the attributes that TRL's method reads from a trainer without tools.
    trainer: Any = SimpleNamespace(
        processing_class=processor,
        _is_vlm=isinstance(processor, ProcessorMixin),
        environment_factories=None,
        tools=None,
        chat_template=None,
        chat_template_kwargs=template_options or {},
    )

    def tokenize(prompts: Sequence[Any]) -> list[list[int]]:
        read = [taken(prompt, trainer._is_vlm) for prompt in prompts]
        method = grpo_trainer.GRPOTrainer._tokenize_prompts
        return [list(ids) for ids in method(trainer, read)[0]]

    return Tokenize(tokenize)


def cut_here() -> Cut:
    """Sharding of the model over the processes that `accelerate launch` started."""
    count = processes().num_processes
    with reading("the environment of accelerate (ACCELERATE_USE_FSDP, ...) cannot be read"):
        if parse_flag_from_env("ACCELERATE_USE_FSDP"):
            return Cut(count, "fsdp")
        if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
            stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2)
            return Cut(count, "zero", int(stage))
        return Cut(count)


def _forward(config: Config, args: VantageConfig) -> Forward:
    return Forward(
        args.per_device_train_batch_size,
        args.max_completion_length,
        tile=TILE,
        reference=bool(args.beta),
        checkpointing=args.gradient_checkpointing,
        written_out=config.model.attention == "eager",
        compensated=args.compensated_sums,
    )


def _colocated(args: VantageConfig) -> Colocated | None:
    """vLLM, if it shares the training GPUs."""
    if not args.colocated:
        return None
    return Colocated(
        "vLLM",
        args.vllm_gpu_memory_utilization,
        bool(args.vllm_enable_sleep_mode),
        "trl.vllm_enable_sleep_mode",
        args.vllm_tensor_parallel_size,
        args.vllm_max_model_length,
    )
