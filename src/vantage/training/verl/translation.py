"""Our configuration as veRL's options. Pure: nothing of veRL is imported."""

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
# veRL always has a dual clip, 3.0 unless told otherwise; no ratio comes near this one.
NO_DUAL_CLIP = 1e6


def options(config: Config, resume: bool = False) -> dict[str, Any]:
    """veRL's options for a configuration, without those under `verl`.

    Args:
        config: the configuration.
        resume: go on from the last checkpoint.

    Raises:
        ConfigError: an option that veRL cannot carry out, or a recipe that needs other sizes.
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
    """Options of the chat template."""
    return (config.verl.get("data") or {}).get("apply_chat_template_kwargs") or {}


def _check(config: Config, shape: Shape) -> None:
    check_recipe(parse_recipe(config.recipe), config.variants, shape.updates)
    shape.check_not_empty()
    if config.data.max_prompt_tokens is None:
        raise ConfigError(
            "data.max_prompt_tokens: veRL reserves memory for the longest prompt; set the "
            "maximum number of tokens, such as 2048"
        )
    if config.batch.packing == "on":
        raise ConfigError("batch.packing: packing is not supported on veRL; set it to auto")
    if config.model.lora and config.model.lora.dropout:
        raise ConfigError("model.lora.dropout: veRL has none; leave it at 0")
    if config.optimizer.schedule not in SCHEDULES:
        raise ConfigError(
            f"optimizer.schedule={config.optimizer.schedule!r}: veRL has {', '.join(SCHEDULES)}"
        )
    if config.model.dtype == "float16":
        raise ConfigError("model.dtype=float16: not supported on veRL; set bfloat16 or float32")


def _data(config: Config, shape: Shape) -> dict[str, Any]:
    return {
        # A text, since OmegaConf would read what stands in ${} of a template.
        "vantage": json.dumps(as_values(config)).replace("$", "\\u0024"),
        "custom_cls": {"path": f"{PACKAGE}.dataset", "name": "Questions"},
        "train_files": "train",
        "val_files": "validation" if config.data.validation else "train",
        "train_batch_size": shape.asked,
        "max_prompt_length": config.data.max_prompt_tokens,
        "max_response_length": config.generation.max_tokens,
        "filter_overlong_prompts": False,  # measured by ours
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
    """What forwards compute in, bfloat16 if not said."""
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
    if config.model.freeze_vision_tower:  # or FSDP 1 wants a gradient of all weights or of none
        made["fsdp_config"] |= {"use_orig_params": True}
    if loss.mean == "constant":
        made["loss_scale_factor"] = config.generation.max_tokens
    if loss.ratio == "sequence" and loss.dual_clip:
        raise ConfigError(
            f"recipe {config.recipe!r}: its loss has dual_clip={loss.dual_clip} and a ratio per "
            "sequence, for which veRL has no dual clip; leave dual_clip out, or use engine: trl"
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
        "calculate_log_probs": True,  # of the sampled tokens alone: vLLM has them at hand
        "val_kwargs": {**sampling, **_validation(config)},
        "dtype": precision_of(config, has_bfloat16=True).forward,
        **sampling,
    }


def _validation(config: Config) -> dict[str, Any]:
    """How questions that are held out are asked, where it is not as in training."""
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
        "total_training_steps": run.batches,  # None: the epochs say, once the data are loaded
        "save_freq": run.save_every,
        "test_freq": run.validate_every if validates else -1,
        "val_before_train": validates and config.validation.before_training,
        "max_actor_ckpt_to_keep": run.keep_checkpoints,
        "resume_mode": "auto" if resume else "disable",
        "critic_warmup": 0,
        "balance_batch": True,
    }


def _longest(config: Config) -> int:
    """Tokens of the longest row."""
    return (config.data.max_prompt_tokens or 0) + config.generation.max_tokens


def _rows(shape: Shape) -> int:
    """Rows that the store may have to hold: rollouts, shared ones, repeats and padding."""
    return max(100_000, 4 * shape.generated * shape.prompts)
