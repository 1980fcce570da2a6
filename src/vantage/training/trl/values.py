"""Checks types and ranges of TRL's options before a run starts.

TRL and transformers check few options at the start. Others fail after the model is loaded or in the
first update, or are misread silently, such as a string that counts as true.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from accelerate.utils import DynamoBackend
from transformers import PretrainedConfig, PreTrainedModel

from vantage import files
from vantage.errors import ConfigError, nearest
from vantage.training.trl.config import VantageConfig

HINTS = typing.get_type_hints(VantageConfig)

# Options that the sections determine, and how to change them.
INSTEAD = {
    "output_dir": "set run.output",
    "recipe": "set recipe",
    "variants": "set variants",
    "sampling": "set data.sampling",
    "freeze_vision_tower": "set model.freeze_vision_tower",
    "min_pixels": "set model.min_pixels",
    "max_pixels": "set model.max_pixels",
    "prompt_template": "set data.template",
    "system_prompt": "set data.system_prompt",
    "max_prompt_length": "set data.max_prompt_tokens",
    "on_long_prompt": "set data.on_long_prompt",
    "reward_weights": "set rewards",
    "max_completion_length": "set generation.max_tokens",
    "temperature": "set generation.temperature",
    "top_p": "set generation.top_p",
    "learning_rate": "set optimizer.learning_rate",
    "weight_decay": "set optimizer.weight_decay",
    "max_grad_norm": "set optimizer.max_grad_norm",
    "lr_scheduler_type": "set optimizer.schedule",
    "compensated_sums": "set optimizer.weights",
    "seed": "set run.seed",
    "record": "set run.record",
    "model_init_kwargs.attn_implementation": "set model.attention",
    "report_to": "set run.report_to",
    "max_silent_batches": "set run.max_silent_batches",
    "num_generations": "set batch.rollouts",
    "packing": "set batch.packing",
    "per_device_train_batch_size": "set batch.micro_batch, or the sizes of the batch",
    "gradient_accumulation_steps": "set batch.updates and batch.micro_batch",
    "generation_batch_size": "set batch.questions, variants.prompts and batch.rollouts",
    "steps_per_generation": "set batch.updates and batch.micro_batch",
    "num_train_epochs": "set run.epochs",
    "max_steps": "set run.batches",
    "save_steps": "set run.save_every",
    "save_total_limit": "set run.keep_checkpoints",
    "eval_strategy": "set run.validate_every, or leave data.validation out",
    "eval_steps": "set run.validate_every",
    "eval_on_start": "set validation.before_training",
    "eval_temperature": "set validation.temperature",
    "num_generations_eval": "set validation.rollouts",
}
# Options with nested options that are compared as a whole.
WHOLE = ("recipe", "variants", "sampling", "record")


class Range(NamedTuple):
    """Range of an option; bounds are inclusive unless open."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    def __str__(self) -> str:
        low = f"more than {self.low:g}" if self.low_open else f"{self.low:g} or more"
        high = f"less than {self.high:g}" if self.high_open else f"at most {self.high:g}"
        return low if math.isinf(self.high) else f"{low} and {high}"


COUNT, MOST, LONGEST = Range(1, 10**6), Range(1, 10**9), Range(1, 10**7)
POSITIVE, SHARE = Range(0, 1e9, low_open=True), Range(0, 1)
NOT_NEGATIVE, BETA = Range(0, 1e9), Range(0, 1, high_open=True)
SEED, PORT = Range(0, 2**32 - 1), Range(1, 65535)
RANGES = {
    name: bounds
    for bounds, names in (
        (
            COUNT,
            "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps "
            "steps_per_generation num_generations num_generations_eval eval_accumulation_steps "
            "vllm_tensor_parallel_size num_iterations dataloader_prefetch_factor ddp_bucket_cap_mb",
        ),
        (
            LONGEST,
            "max_completion_length max_prompt_length vllm_max_model_length generation_batch_size",
        ),
        (
            MOST,
            "save_total_limit torch_empty_cache_steps ref_model_sync_steps max_pixels "
            "num_completions_to_print ddp_timeout max_tool_calling_iterations",
        ),
        (
            POSITIVE,
            "num_train_epochs adam_epsilon temperature repetition_penalty sapo_temperature_neg "
            "sapo_temperature_pos vllm_server_timeout logging_steps save_steps eval_steps "
            "vllm_importance_sampling_clip_max vllm_importance_sampling_cap vespo_k_pos "
            "vespo_lambda_pos vespo_k_neg vespo_lambda_neg",
        ),
        (
            NOT_NEGATIVE,
            "learning_rate weight_decay max_grad_norm warmup_steps eval_delay beta epsilon "
            "epsilon_high neftune_noise_alpha router_aux_loss_coef eval_temperature "
            "vllm_importance_sampling_clip_min entropy_coef_delta entropy_coef_min "
            "entropy_coef_max entropy_target off_policy_mask_threshold",
        ),
        (SHARE, "min_p ref_model_mixup_alpha label_smoothing_factor"),
        (SEED, "seed data_seed"),
        (BETA, "adam_beta1 adam_beta2"),
        (Range(0, 1, low_open=True), "top_p vllm_gpu_memory_utilization"),
        (PORT, "vllm_server_port vllm_group_port"),
        (Range(1, 10**8), "min_pixels"),
        (Range(1, 2**16), "pad_to_multiple_of"),
        (Range(-1, 10**9), "max_steps top_k"),
        (Range(1, low_open=True), "delta"),
        (Range(0, 1_000), "dataloader_num_workers"),
    )
    for name in names.split()
}
# Options with a fixed set of strings.
LOG_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
TEXTS: dict[str, tuple[str, ...]] = {
    "log_level": LOG_LEVELS,
    "log_level_replica": LOG_LEVELS,
    "vllm_mode": ("colocate", "server"),
    "vllm_model_impl": ("vllm", "transformers", "auto"),
    "vllm_importance_sampling_mode": (
        *("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
        *("sequence-truncate", "sequence-mask"),
    ),
    "torch_compile_mode": (
        *("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    ),
    "pad_to_multiple_of": ("auto",),
    "torch_compile_backend": tuple(backend.value.lower() for backend in DynamoBackend),
    "ddp_backend": ("nccl", "gloo", "mpi", "ccl", "hccl", "cncl", "mccl"),
    "dataloader_multiprocessing_context": ("fork", "spawn", "forkserver"),
    "train_sampling_strategy": ("random", "sequential", "group_by_length"),
    "cache_implementation": (
        *("dynamic", "dynamic_full", "static", "offloaded", "offloaded_static", "quantized"),
        *("hybrid", "sliding_window"),
    ),
}

# Options whose type allows null, but which a run needs.
NEEDED = ("report_to", "num_generations", "max_completion_length")
# Options that are mappings, and cannot be a file.
NAMED = tuple(
    name
    for name, hint in HINTS.items()
    if any((typing.get_origin(one) or one) is dict for one in typing.get_args(hint))
    and name not in ("fsdp_config", "deepspeed", "accelerator_config", "sampling", "recipe")
)
# Options that are mappings, or the path of a JSON file.
FILES = ("fsdp_config", "deepspeed", "accelerator_config")
# Options of torch.utils.checkpoint.
CHECKPOINTING_IN = ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs")
CHECKPOINTING = frozenset(
    ("use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop")
)
# Options of transformers' `from_pretrained` that are not part of a model's configuration.
INIT = frozenset(
    (
        *(*inspect.signature(PreTrainedModel.from_pretrained).parameters,),
        *("adapter_kwargs", "adapter_name", "allow_all_kernels", "attn_implementation"),
        *("device_map", "device_mesh", "distributed_config", "dtype", "experts_implementation"),
        *("generation_config", "gguf_file", "kernel_config", "key_mapping", "max_memory"),
        *("low_cpu_mem_usage", "offload_buffers", "offload_folder", "offload_state_dict"),
        *("proxies", "quantization_config", "state_dict", "subfolder", "torch_dtype"),
        *("tp_plan", "tp_size", "trust_remote_code", "use_kernels", "variant"),
    )
)
OPTIM_ARGS = re.compile(r"\s*\w+\s*=[^,=]+(?:,\s*\w+\s*=[^,=]+)*")


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options under `trl`, and convert their values for TRL.

    Args:
        options: Options under `trl` in a configuration.

    Raises:
        ConfigError: An option is unknown, or its value is invalid; names the option, its value
            and what is expected.
    """
    for name, value in options.items():
        if name not in HINTS:
            raise ConfigError(f"trl.{name}: unknown; {nearest(name, HINTS)}")
        if name == "resume_from_checkpoint":
            raise ConfigError(f"trl.{name}={value!r}: use the option --resume instead")
        if not _fits(value, HINTS[name]) and not _is_default(name, value):
            raise ConfigError(f"trl.{name}={value!r:.200}: expected {_words(HINTS[name])}")
        if value is None and name in NEEDED:
            raise ConfigError(f"trl.{name} is null, but a run needs it: leave it out")
        _check_range(name, value)
        if isinstance(value, str):
            _check_text(name, value)
        if name in CHECKPOINTING_IN and isinstance(value, Mapping):
            for inner in value.keys() - CHECKPOINTING:
                raise ConfigError(f"trl.{name}.{inner}: {nearest(inner, CHECKPOINTING)}")
    return {name: _as_taken(name, value) for name, value in options.items()}


def _as_taken(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return files.home(value)
    # PyTorch accepts a beta of 0.0, but not of 0.
    return float(value) if HINTS[name] is float and type(value) is int else value


def check_together(args: VantageConfig, *, validates: bool) -> None:
    """Check combinations of options that TRL would reject only after loading the model.

    Args:
        args: Options of the run.
        validates: Whether there is a validation set.

    Raises:
        ConfigError: A combination is invalid; names the options.
    """
    if not validates and (args.eval_on_start or args.eval_strategy != "no"):
        name = "eval_on_start" if args.eval_on_start else "eval_strategy"
        raise ConfigError(f"trl.{name}: no questions to validate on; name them in data.validation")
    if args.sync_ref_model and not args.beta:
        raise ConfigError(
            "trl.sync_ref_model: without a KL divergence there is no reference model; set beta"
        )
    if args.top_k < 0 and not args.use_vllm:
        raise ConfigError(f"trl.top_k={args.top_k}: expected 0 for all tokens; -1 is only for vLLM")


def check_model(args: VantageConfig, known: PretrainedConfig) -> None:
    """Check options that TRL or transformers would reject only after loading the model.

    Args:
        args: Options of the run.
        known: The model's configuration.

    Raises:
        ConfigError: The model does not support an option; names the option and the reason.
    """
    text = known.get_text_config()
    if args.router_aux_loss_coef and not hasattr(text, "output_router_logits"):
        raise ConfigError(
            f"trl.router_aux_loss_coef={args.router_aux_loss_coef}: the model has no experts "
            "whose load could be balanced: leave it out"
        )
    if args.cast_lm_head_to_fp32 and text is not known and known.tie_word_embeddings:
        raise ConfigError(
            "trl.cast_lm_head_to_fp32: TRL does not support it for a vision-language model with "
            "tied embeddings: leave it out"
        )
    if args.use_transformers_continuous_batching and text is not known:
        raise ConfigError(
            "trl.use_transformers_continuous_batching: not supported for vision-language models; "
            "set use_vllm, or leave it out"
        )
    for name in args.model_init_kwargs or {}:
        if name not in INIT and not hasattr(known, name):
            raise ConfigError(f"trl.model_init_kwargs.{name}: unknown; {nearest(name, INIT)}")


def _check_text(name: str, value: str) -> None:
    if not value.strip() or "\0" in value:
        raise ConfigError(f"trl.{name}={value!r} is empty or contains a NUL: leave it out")
    if name in TEXTS and value not in TEXTS[name]:
        raise ConfigError(f"trl.{name}={value!r}: {nearest(value, TEXTS[name])}")
    if name in NAMED:
        _check_options(name, value, value)
    if name in FILES:
        _check_options(name, value, _content(name, value))
    if name == "optim_args" and not OPTIM_ARGS.fullmatch(value):
        raise ConfigError(f"trl.{name}={value!r:.200}: expected name=value,name=value")


def _content(name: str, path: str) -> str:
    files.check_readable(Path(path), f"trl.{name}")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"trl.{name}={path!r:.200}: cannot be read: {error}") from error


def _check_options(name: str, value: str, text: str) -> None:
    """Check that a text is a JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"trl.{name}={value!r:.200}: expected a mapping of options, got invalid JSON: {error}"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"trl.{name}={value!r:.200}: expected a mapping of options")


def _check_range(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if math.isnan(value) or abs(value) >= 2**63:
        raise ConfigError(f"trl.{name}={value!r:.200}: expected a number below 2**63")
    if name in RANGES and value not in RANGES[name] and not _is_default(name, value):
        raise ConfigError(f"trl.{name}={value!r}: expected {RANGES[name]}")


def _is_default(name: str, value: Any) -> bool:
    default = VantageConfig.__dataclass_fields__[name].default
    return type(value) is type(default) and value == default


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML has a type."""
    kind, inside = typing.get_origin(hint), typing.get_args(hint)
    if kind in (Union, types.UnionType):
        return any(_fits(value, one) for one in inside)
    if kind is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if kind is list:
        return isinstance(value, list) and all(_fits(item, inside[0]) for item in value)
    if hint is dict or kind is dict:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is types.NoneType or hint is None:
        return value is None
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, str | hint)
    return hint is Any or (isinstance(hint, type) and type(value) is hint)


def _words(hint: Any) -> str:
    """Describe a type for an error message."""
    kind, inside = typing.get_origin(hint), typing.get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_words, inside)))
    if kind is list:
        return f"a list, each {_words(inside[0])}"
    if hint is dict or kind is dict:
        return "a mapping of options"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "a string"
    known = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    return (
        "null" if hint is types.NoneType else known.get(hint, str(getattr(hint, "__name__", hint)))
    )
