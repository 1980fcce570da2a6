"""Translates our configuration to veRL's options. Pure: imports nothing of veRL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vantage.config import Config, as_values
from vantage.errors import ConfigError
from vantage.methods import Loss
from vantage.methods.recipe import parse_recipe
from vantage.training.precision import precision_of
from vantage.training.shape import Shape, check_recipe, shape_of
from vantage.training.verl.precision import optimizer, weights

PACKAGE = "pkg://vantage.training.verl"
FREEZING = "vantage.training.verl.freezing"
LOSS_MEANS = {
    "token": "token-mean",
    "sequence": "seq-mean-token-mean",
    "constant": "seq-mean-token-sum-norm",
}
SCHEDULES = ("constant", "cosine")
# veRL cannot disable its dual clip, 3.0 by default. Ratios never reach this value.
NO_DUAL_CLIP = 1e6


def options(config: Config, resume: bool = False) -> dict[str, Any]:
    """Translate the sections of a configuration to veRL's options; ignores the section `verl`.

    Args:
        config: Configuration of the run.
        resume: Whether to resume from the last checkpoint.

    Raises:
        ConfigError: veRL does not support an option, or the recipe does not fit the sizes of the
            batch.
    """
    shape = shape_of(config)
    _check(config, shape)
    loss = parse_recipe(config.recipe).loss
    return {
        "algorithm": {"adv_estimator": "grpo", "use_kl_in_reward": False},
        "critic": {"enable": False},
        "data": _data(config, shape),
        "actor_rollout_ref": {
            "hybrid_engine": True,
            "model": _model(config),
            "actor": _actor(config, shape, loss),
            "ref": {"fsdp_config": _forward(config)},
            "rollout": _rollout(config),
        },
        "reward": {
            "custom_reward_function": {
                "path": f"{PACKAGE}.scoring",
                "name": "compute_score",
                "reward_kwargs": {
                    "rewards": dict(config.rewards),
                    "judge": config.judge.model_dump() if config.judge else None,
                },
            },
        },
        "trainer": _trainer(config, resume),
        "transfer_queue": {"backend": {"SimpleStorage": {"total_storage_size": _rows(shape)}}},
    }


def template_options(config: Config) -> dict[str, Any]:
    """Keyword arguments of the chat template."""
    return (config.verl.get("data") or {}).get("apply_chat_template_kwargs") or {}


def _check(config: Config, shape: Shape) -> None:
    check_recipe(parse_recipe(config.recipe), config.variants, shape.updates)
    shape.check_not_empty()
    if config.data.max_prompt_tokens is None:
        raise ConfigError(
            "data.max_prompt_tokens: required on veRL, which reserves memory for the longest "
            "prompt; set the maximum number of tokens, such as 2048"
        )
    if config.batch.packing == "on":
        raise ConfigError("batch.packing: packing is not supported on veRL; set it to auto")
    if config.model.lora and config.model.lora.dropout:
        raise ConfigError("model.lora.dropout: not supported on veRL; set it to 0")
    if config.optimizer.schedule not in SCHEDULES:
        raise ConfigError(
            f"optimizer.schedule={config.optimizer.schedule!r}: veRL supports "
            f"{', '.join(SCHEDULES)}"
        )
    if config.model.dtype == "float16":
        raise ConfigError("model.dtype=float16: not supported on veRL; set bfloat16 or float32")


def _data(config: Config, shape: Shape) -> dict[str, Any]:
    return {
        # As JSON without $, since OmegaConf would interpolate ${...} in a template.
        "vantage": json.dumps(as_values(config)).replace("$", "\\u0024"),
        "custom_cls": {"path": f"{PACKAGE}.dataset", "name": "Questions"},
        "train_files": "train",
        "val_files": "validation" if config.data.validation else "train",
        "train_batch_size": shape.asked,
        "max_prompt_length": config.data.max_prompt_tokens,
        "max_response_length": config.generation.max_tokens,
        "filter_overlong_prompts": False,  # vantage filters them
        "dataloader_num_workers": 0,
        "seed": config.run.seed,
        "shuffle": False,
    }


def _model(config: Config) -> dict[str, Any]:
    model = config.model
    made: dict[str, Any] = {"path": model.path}
    if model.freeze_vision_tower:
        made["external_lib"] = FREEZING
    if model.attention:
        made["override_config"] = {"attn_implementation": model.attention}
    if model.lora:
        made |= {
            "lora_rank": model.lora.r,
            "lora_alpha": model.lora.alpha,
            "target_modules": model.lora.target_modules,
        }
    return made


def _forward(config: Config) -> dict[str, Any]:
    """Options of `fsdp_config` for the precision of forwards; veRL's default is bfloat16."""
    if precision_of(config, has_bfloat16=True).forward == "bfloat16":
        return {}
    return {"dtype": "float32", "mixed_precision": {"param_dtype": "fp32"}}


def _actor(config: Config, shape: Shape, loss: Loss) -> dict[str, Any]:
    made: dict[str, Any] = {
        "fsdp_config": _forward(config) | weights(config) | {"seed": config.run.seed},
        "optim": optimizer(config),
        "ppo_mini_batch_size": max(1, shape.asked // shape.updates),
        "use_dynamic_bsz": True,
        "ppo_max_token_len_per_gpu": config.batch.micro_batch * _longest(config),
        "ppo_epochs": 1,
        "shuffle": False,
        "clip_ratio_low": loss.clip_low,
        "clip_ratio_high": loss.clip_high,
        "clip_ratio_c": loss.dual_clip or NO_DUAL_CLIP,
        "loss_agg_mode": LOSS_MEANS[loss.mean],
        "use_kl_loss": loss.kl != 0,
        "kl_loss_coef": loss.kl,
        "freeze_vision_tower": config.model.freeze_vision_tower,
    }
    if config.model.freeze_vision_tower:  # else FSDP 1 cannot freeze only some of the weights
        made["fsdp_config"] |= {"use_orig_params": True}
    if loss.mean == "constant":
        made["loss_scale_factor"] = config.generation.max_tokens
    if loss.ratio == "sequence" and loss.dual_clip:
        raise ConfigError(
            f"recipe {config.recipe!r}: its loss has dual_clip={loss.dual_clip} and a ratio per "
            "sequence, for which veRL has no dual clip; remove dual_clip, or use engine: trl"
        )
    if loss.ratio == "sequence":
        made["policy_loss"] = {"loss_mode": "gspo"}
    return made


def _rollout(config: Config) -> dict[str, Any]:
    sampling = {"temperature": config.generation.temperature, "top_p": config.generation.top_p}
    return {
        "name": "vllm",
        "n": config.batch.rollouts,
        "seed": config.run.seed,
        "tensor_model_parallel_size": 1,
        "agent": {"default_agent_loop": "vantage"},
        "calculate_log_probs": True,  # cheap: vLLM has those of the sampled tokens anyway
        "val_kwargs": {**sampling, **_validation(config)},
        "dtype": precision_of(config, has_bfloat16=True).forward,
        **sampling,
    }


def _validation(config: Config) -> dict[str, Any]:
    """Generation options of validation that differ from those of training."""
    temperature = config.validation.temperature
    changed = {} if temperature is None else {"temperature": temperature}
    return {"do_sample": temperature != 0, "n": config.validation.rollouts, **changed}


def _trainer(config: Config, resume: bool) -> dict[str, Any]:
    run = config.run
    validates = config.data.validation is not None
    return {
        "v1": {"trainer_mode": "vantage"},
        "use_v1": True,
        "project_name": "vantage",
        "experiment_name": Path(run.output).name,
        "default_local_dir": run.output,
        "logger": ["console", *run.report_to],
        "total_epochs": 1_000_000,  # the number of steps decides
        "total_training_steps": run.batches,  # None: set from the epochs once the data are loaded
        "save_freq": run.save_every,
        "test_freq": run.validate_every if validates else -1,
        "val_before_train": validates and config.validation.before_training,
        "max_actor_ckpt_to_keep": run.keep_checkpoints,
        "resume_mode": "auto" if resume else "disable",
        "critic_warmup": 0,
        "balance_batch": True,
    }


def _longest(config: Config) -> int:
    """Maximum number of tokens of a row."""
    return (config.data.max_prompt_tokens or 0) + config.generation.max_tokens


def _rows(shape: Shape) -> int:
    """Capacity of the store in rows: rollouts, shared responses, copies and padding."""
    return max(100_000, 4 * shape.generated * shape.prompts)
