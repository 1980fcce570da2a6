"""veRL before a run starts: the resolved run, missing packages; Ray is not started."""

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

# Checks of this engine alone.
CHECKS: tuple[Check, ...] = (trying_pictures(check_pictures),)
# Samplers by their names in veRL.
SAMPLERS = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
# Number of tokens in a tile of logits of veRL's fused kernels.
FUSED = 512


def resolve(config: Config) -> Resolved:
    """What veRL makes of a configuration.

    Raises:
        ConfigError: as `vantage.training.verl.launch.composed`.
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
        more_gpus="take more GPUs (verl.trainer.n_gpus_per_node, nnodes)",
    )


def missing_packages(config: Config) -> Iterator[str]:
    """Packages that this machine does not have, a sentence each."""
    made = composed(config)
    name = made.actor_rollout_ref.rollout.name
    if name in SAMPLERS and not find_spec(PACKAGES.get(name, name)):
        yield f"{SAMPLERS[name]}, which samples, is missing: pip install 'verl[{name}]==0.9.1'"
    wants = _wants_flash_attention(made)
    if wants and not find_spec("flash_attn"):
        yield (
            f"flash-attn is missing, and {' and '.join(wants)}, as veRL has it unless told "
            "otherwise: pip install flash-attn, or set model.attention to sdpa and "
            "use_remove_padding to false"
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
    """The forward of an update; veRL limits its tokens, or its rows without dynamic batches."""
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
    """The sampler, which shares the GPUs with the training."""
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
