"""Precision of weights and forwards on TRL: its options, and a check of the loaded weights."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments
from transformers.trainer_optimizer import _parse_optim_args

from vantage.config import Config
from vantage.errors import ConfigError
from vantage.training.precision import (
    COMPENSATED,
    COMPENSATED_BETAS,
    FORMATS,
    Precision,
    Steps,
    Weights,
    judge,
    precision_of,
    steps_of,
)

logger = logging.getLogger(__name__)

SWITCHES = {"bf16": "bfloat16", "fp16": "float16"}
SAMPLED = 4096  # weights to sample per tensor


def chosen(config: Config, *, has_bfloat16: bool | None = None) -> Precision:
    """Resolve the precision of a run on TRL, including options under `trl`.

    Args:
        config: Configuration of the run.
        has_bfloat16: Whether the machine supports bfloat16; None to detect it.

    Raises:
        ConfigError: Options contradict each other.
    """
    if has_bfloat16 is None:
        has_bfloat16 = not config.trl.get("use_cpu") and _gpu_has_bfloat16()
    made = precision_of(_switched(config), has_bfloat16=has_bfloat16)
    own = config.trl.get("model_init_kwargs") or {}
    given = own.get("dtype")
    if "torch_dtype" in own or given == "auto":
        name = "torch_dtype" if "torch_dtype" in own else "dtype"
        raise ConfigError(
            f"trl.model_init_kwargs.{name}={own[name]!r}: leave it out; model.dtype sets the "
            "precision of forwards, and optimizer.weights that of weights"
        )
    if given is None:
        return made
    if given not in FORMATS:
        raise ConfigError(
            f"trl.model_init_kwargs.dtype={given!r}: expected one of {', '.join(FORMATS)}"
        )
    if config.optimizer.weights == "bfloat16" and given != "bfloat16":
        raise ConfigError(
            f"trl.model_init_kwargs.dtype={given} contradicts optimizer.weights=bfloat16: leave "
            "one of them out"
        )
    return made._replace(loaded=given, trained=made.trained if config.model.lora else given)


def _gpu_has_bfloat16() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def _switched(config: Config) -> Config:
    """Move TRL's options bf16 and fp16 into `model.dtype`."""
    given = {name: config.trl[name] for name in SWITCHES if config.trl.get(name) is not None}
    if not given:
        return config
    on = [SWITCHES[name] for name, value in given.items() if value]
    off = [SWITCHES[name] for name, value in given.items() if not value]
    dtype = config.model.dtype
    meant = on[0] if on else "float32"
    if len(on) > 1 or (dtype != "auto" and ((on and on[0] != dtype) or dtype in off)):
        said = ", ".join(f"trl.{name}={str(value).lower()}" for name, value in given.items())
        raise ConfigError(
            f"{said} contradicts model.dtype={dtype}, which sets the precision of forwards: leave "
            f"{said.partition('=')[0]} out"
        )
    if dtype != "auto":
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"dtype": meant})})


def options(config: Config) -> dict[str, Any]:
    """Translate the precision of a configuration to TRL's options.

    Raises:
        ConfigError: As `chosen`.
    """
    precision = chosen(config)
    spec = {"attn_implementation": config.model.attention, "dtype": precision.loaded}
    own = config.trl.get("model_init_kwargs") or {}
    made: dict[str, Any] = {
        "model_init_kwargs": {name: value for name, value in spec.items() if value} | own,
        **{switch: dtype == precision.forward for switch, dtype in SWITCHES.items()},
    }
    if config.optimizer.weights == "bfloat16":
        made |= {"compensated_sums": True, "adam_beta2": COMPENSATED_BETAS[1]}
    return made


def optimizer_for(
    args: TrainingArguments,
    model: torch.nn.Module,
    own: torch.optim.Optimizer | None,
    *,
    warns: bool = True,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """Choose the optimizer for bfloat16 weights, and check that its steps move the weights.

    Args:
        args: Options of the run.
        model: The trained model.
        own: An optimizer that the user passed, if any.
        warns: Whether this process logs warnings.

    Returns:
        Class and options; None for the optimizer of `args` or the user.

    Raises:
        ConfigError: Steps are too small to move the weights, or compensated sums do not apply.
    """
    if args.compensated_sums:
        if own:
            raise ConfigError(
                f"compensated_sums sets the optimizer, but optimizers has a "
                f"{type(own).__name__}: leave one of them out"
            )
        _check_loaded(model)
    made = _steps_of_instance(own) if own else steps(args, _count(model))
    verdict = judge([*_sampled(model, _has_masters(args))], made)
    if verdict.error:
        raise ConfigError(verdict.error)
    if verdict.warning and warns:
        logger.warning(verdict.warning)
    return _compensated(args) if args.compensated_sums else None


def kept_in(config: Config, args: TrainingArguments) -> str:
    """Precision of the weights that the optimizer updates."""
    trained = chosen(config, has_bfloat16=args.bf16).trained
    return "float32" if _has_masters(args) else trained


def _has_masters(args: TrainingArguments) -> bool:
    """Whether FSDP or DeepSpeed keep float32 master weights, whatever the loaded precision."""
    sharded = map(parse_flag_from_env, ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"))
    return (args.bf16 or args.fp16) and any(sharded)


def steps(args: TrainingArguments, trained: int | None = None) -> Steps:
    """Estimate the steps of TRL's optimizer; `trained` is the number of trained weights."""
    name, more = str(getattr(args.optim, "value", args.optim)), _parse_optim_args(args.optim_args)
    if args.compensated_sums:
        name, more = COMPENSATED, {}
    return steps_of(
        name, args.learning_rate, options=more, clip=args.max_grad_norm or 0.0, trained=trained
    )


def _steps_of_instance(optimizer: torch.optim.Optimizer) -> Steps:
    """Estimate the steps of the user's optimizer, named like "optimi.AdamW"."""
    kind = type(optimizer)
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    rate = max(float(group["lr"]) for group in optimizer.param_groups)
    rounds = getattr(optimizer, "bf16_stochastic_round", False)
    more = {**optimizer.param_groups[0], "bf16_stochastic_round": rounds}
    return steps_of(name, rate, options=more)


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _sampled(model: torch.nn.Module, has_masters: bool) -> Iterator[Weights]:
    """Sample weights of every trained tensor."""
    for parameter in model.parameters():
        if not parameter.requires_grad or not parameter.numel():
            continue
        dtype = "float32" if has_masters else str(parameter.dtype).removeprefix("torch.")
        every = -(-parameter.numel() // SAMPLED)
        some = parameter.detach().flatten()[::every].abs().float().cpu().numpy()
        yield Weights(dtype, parameter.numel(), some)


def check_options(args: TrainingArguments) -> None:
    """Check that options of TRL do not undo the precision of the weights.

    Raises:
        ConfigError: accelerate was started with another precision, generation would convert the
            weights, or compensated sums are combined with another optimizer, with a second moment
            that could not decay, or with sharding.
    """
    forward = next((switch for switch in SWITCHES if getattr(args, switch)), "no")
    if args.mixed_precision != forward:
        raise ConfigError(
            f"accelerate was started with mixed_precision={args.mixed_precision}, but forwards "
            f"should compute in {SWITCHES.get(forward, 'float32')} (model.dtype): start it with "
            f"--mixed_precision {forward}"
        )
    if not args.compensated_sums:
        if args.use_transformers_continuous_batching and (args.bf16 or args.fp16):
            raise ConfigError(
                "use_transformers_continuous_batching=True: before it generates, TRL permanently "
                "converts the trained weights to the precision of forwards; leave it "
                "out, or compute forwards in float32"
            )
        return
    optim = str(getattr(args.optim, "value", args.optim))
    if optim not in ("adamw_torch_fused", "adamw_torch"):  # the default depends on torch's version
        raise ConfigError(
            f"optim={optim!r} with compensated_sums (optimizer.weights=bfloat16), which sets the "
            "optimizer: leave one of them out"
        )
    if _has_masters(args):
        raise ConfigError(
            "compensated_sums (optimizer.weights=bfloat16): FSDP and DeepSpeed keep sharded "
            "weights in float32; leave it out"
        )
    decay = 1 - args.adam_beta2
    if decay < 2**-8:
        raise ConfigError(
            f"adam_beta2={args.adam_beta2} with weights in bfloat16: the second moment is kept in "
            f"bfloat16 too, where a decay of {decay:.2g} is rounded away; set 0.99"
        )


def _check_loaded(model: torch.nn.Module) -> None:
    """Check that the weights for compensated sums were loaded in bfloat16."""
    kinds = {str(p.dtype) for p in model.parameters() if p.requires_grad}
    # Some models always keep a few weights in float32.
    if "torch.bfloat16" not in kinds or "torch.float16" in kinds:
        raise ConfigError(
            "compensated_sums (optimizer.weights=bfloat16) is for weights in bfloat16, but the "
            f"trained weights are in {', '.join(sorted(kinds))}: load the model in bfloat16"
        )


def _compensated(args: TrainingArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """AdamW with compensated sums, and its options."""
    module, _, name = COMPENSATED.partition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(
            "optimizer.weights=bfloat16 needs torch-optimi: pip install torch-optimi"
        ) from error
    betas = (args.adam_beta1, args.adam_beta2)
    return kind, {
        "lr": args.learning_rate,
        "betas": betas,
        "eps": args.adam_epsilon,
        "kahan_sum": True,
    }
