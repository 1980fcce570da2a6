"""Resolves a configuration to veRL's settings, and reports missing packages; starts no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

from omegaconf import DictConfig

from vantage.checking.checks.processor import trying_pictures
from vantage.checking.context import Check
from vantage.config import Config
from vantage.training.resolved import Colocated, Cut, Forward, Resolved, prompts_of
from vantage.training.shape import shape_of
from vantage.training.verl.agent import check_pictures
from vantage.training.verl.dataset import ASKED, tokenizer_of
from vantage.training.verl.launch import check_run, composed, gpus_of, loading
from vantage.training.verl.mismatch import PACKAGES
from vantage.training.verl.precision import chosen, steps
from vantage.training.verl.translation import template_options

__all__ = ["CHECKS", "check_run", "missing_packages", "resolve"]

# Checks for this engine only.
CHECKS: tuple[Check, ...] = (trying_pictures(check_pictures),)
# veRL's name of a sampler -> name in messages.
SAMPLERS = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
# Number of tokens per tile of logits in veRL's fused kernels.
FUSED = 512


def resolve(config: Config) -> Resolved:
    """Resolve a configuration to veRL's settings; needs no GPU.

    Raises:
        ConfigError: As `vantage.training.verl.launch.composed`.
    """
    made = composed(config)
    actor, options = made.actor_rollout_ref.actor, template_options(config)
    return Resolved(
        config,
        shape_of(config),
        partial(prompts_of, config),
        made.data.max_prompt_length,
        config.data.on_long_prompt,
        chosen(actor.fsdp_config),
        _forward(made),
        limit_validation=made.data.max_prompt_length,
        cut=Cut(_shards(actor.fsdp_config.fsdp_size, gpus_of(made)), "fsdp"),
        steps=steps(actor),
        kept_in=chosen(actor.fsdp_config).loaded,
        loading=loading(made),
        template_options=options,
        tokenizer=partial(tokenizer_of, template_options=options),
        withheld=ASKED,
        colocated=_colocated(made),
        more_gpus="use more GPUs (verl.trainer.n_gpus_per_node, nnodes)",
    )


def missing_packages(config: Config) -> Iterator[str]:
    """Yield a sentence for each package that the run needs and this machine lacks."""
    made = composed(config)
    name = made.actor_rollout_ref.rollout.name
    if name in SAMPLERS and not find_spec(PACKAGES.get(name, name)):
        yield (
            f"{SAMPLERS[name]}, the sampler of the run, is missing: "
            f"pip install 'verl[{name}]==0.9.1'"
        )
    wants = _wants_flash_attention(made)
    if wants and not find_spec("flash_attn"):
        yield (
            f"flash-attn is missing, but {' and '.join(wants)} (veRL's default): "
            "pip install flash-attn, or set model.attention to sdpa and "
            "verl.actor_rollout_ref.model.use_remove_padding to false"
        )
    if made.actor_rollout_ref.actor.optim.optimizer_impl == "optimi" and not find_spec("optimi"):
        yield "optimizer.weights: torch-optimi is missing: pip install torch-optimi"


def _wants_flash_attention(made: DictConfig) -> list[str]:
    kind = _attention(made)
    wants = [f"model.attention is {kind}"] if kind.startswith("flash_attention") else []
    if made.actor_rollout_ref.model.use_remove_padding:
        wants.append("verl.actor_rollout_ref.model.use_remove_padding is true")
    return wants


def _attention(made: DictConfig) -> str:
    given = made.actor_rollout_ref.model.override_config or {}
    return str(given.get("attn_implementation", "flash_attention_2"))


def _shards(size: int, gpus: int) -> int:
    """Number of GPUs that share a model; all of them unless `size` is smaller."""
    return size if 0 < size < gpus else gpus


def _forward(made: DictConfig) -> Forward:
    """Limits of the forwards: veRL limits tokens, or rows if `use_dynamic_bsz` is off."""
    actor, data = made.actor_rollout_ref.actor, made.data
    model = made.actor_rollout_ref.model
    longest = data.max_prompt_length + data.max_response_length
    rows = max(1, actor.ppo_max_token_len_per_gpu // longest)
    if not actor.use_dynamic_bsz:
        rows = actor.ppo_micro_batch_size_per_gpu
    return Forward(
        rows,
        data.max_response_length,
        data.max_prompt_length,
        tile=(FUSED, None) if model.use_fused_kernels else None,
        reference=bool(actor.use_kl_loss),
        checkpointing=bool(model.enable_gradient_checkpointing),
        written_out=_attention(made) == "eager",
        compensated=actor.optim.optimizer_impl == "optimi",
    )


def _colocated(made: DictConfig) -> Colocated | None:
    """Memory settings of the sampler, which shares the GPUs with the training; None if unknown."""
    rollout = made.actor_rollout_ref.rollout
    if rollout.name not in SAMPLERS:
        return None
    return Colocated(
        SAMPLERS[rollout.name],
        rollout.gpu_memory_utilization,
        bool(rollout.free_cache_engine),
        "verl.actor_rollout_ref.rollout.free_cache_engine",
        rollout.tensor_model_parallel_size,
        rollout.max_model_len,
    )
