"""A run on TRL from a configuration file."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from vantage import config as configuration
from vantage.config import Config
from vantage.errors import ConfigError, VantageError, nearest
from vantage.training.adapters import lora_of
from vantage.training.checkpoints import last_complete
from vantage.training.inputs import check_attention, check_output, load_model, reward_of, rows_of
from vantage.training.shape import largest_divisor, shape_of
from vantage.training.trl import VantageTrainer, precision
from vantage.training.trl.config import BEST, VantageConfig
from vantage.training.trl.loading import config_source
from vantage.training.trl.progress import ProgressLine

logger = logging.getLogger(__name__)

# Responses that vLLM is asked for at once in a validation: with fewer a GPU waits.
AT_ONCE = 256


def train(
    config: Config, *, resume: bool = False, callbacks: Sequence[TrainerCallback] = ()
) -> VantageTrainer:
    """Train as the configuration says, and save the model into the run's directory.

    Ctrl-C ends the run after the rollout batch at work, with a checkpoint.

    Args:
        config: the configuration; it is written to `config.yaml` in the run's directory.
        resume: go on from the last whole checkpoint, if there is one.
        callbacks: to be told how it goes; each can reach the trainer as `self.trainer`.

    Raises:
        VantageError: whatever cannot work, before the first rollout.
    """
    run = Path(config.run.output)
    check_run(config, resume=resume)
    trainer = build(config)
    if trainer.accelerator.is_main_process:
        run.mkdir(parents=True, exist_ok=True)
        configuration.save(config, run / "config.yaml")
    interrupt = FinishOnInterrupt()
    for callback in (ProgressLine(trainer.recipe.name), interrupt, *callbacks):
        callback.trainer = trainer
        trainer.add_callback(callback)
    with interrupt.listening():
        trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model(str(run / "model"))
    trainer.save_state()
    return trainer


def check_run(config: Config, *, resume: bool) -> None:
    """Refuse to write over another run, or to resume another one.

    Raises:
        ConfigError: as `vantage.training.inputs.check_output`.
    """
    begun = last_complete(Path(config.run.output))
    check_output(config, resume=resume, begun=bool(begun))


def build(config: Config) -> VantageTrainer:
    """The trainer of a configuration, everything checked."""
    args = arguments(config)
    processor, _ = load_model(config.model.path, **config_source(args))
    rows, validation = rows_of(config, processor)
    rewards = [reward_of(name, config.judge) for name in config.rewards]
    with _refusals():
        trainer = VantageTrainer(
            config.model.path, rewards, args, rows, validation, peft_config=lora_of(config)
        )
    trainer.remove_callback(PrinterCallback)
    _say_what_is_left_out(config, trainer)
    if args.max_steps <= 0:  # a fraction of an epoch ends after a whole rollout batch
        batches = math.ceil(trainer.batches_per_epoch * args.num_train_epochs)
        args.max_steps = batches * args.updates_per_rollout_batch
    return trainer


def _say_what_is_left_out(config: Config, trainer: VantageTrainer) -> None:
    own = getattr(trainer.model.config.get_text_config(), "router_aux_loss_coef", None)
    if own and "router_aux_loss_coef" not in config.trl and trainer.accelerator.is_main_process:
        logger.warning(
            f"the loss that balances the experts of this model is left out: no recipe has one; "
            f"trl.router_aux_loss_coef: {own:g} adds it as the model was made with, and goes row "
            "by row"
        )


def arguments(config: Config) -> VantageConfig:
    """TRL's options for a configuration; those under `trl` win.

    Raises:
        ConfigError: an unknown option under `trl`, or sizes that do not divide.
    """
    check_given(config.trl)
    exact = precision.options(config)
    options = _options(config) | exact | config.trl
    # These stand as they are: what is under `trl` is part of them.
    options |= {name: exact[name] for name in ("model_init_kwargs", *precision.SWITCHES)}
    with _refusals():
        made = VantageConfig(**options)
    check_attention((made.model_init_kwargs or {}).get("attn_implementation"))
    for name in made.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            hint = nearest(name, INTEGRATION_TO_CALLBACK)
            raise ConfigError(f"run.report_to: TRL knows no {name!r}; {hint}")
    return made


def check_given(options: Mapping[str, Any]) -> None:
    """Refuse names that TRL does not know, and texts where it has numbers or switches.

    Raises:
        ConfigError: names the option.
    """
    known = VantageConfig.__dataclass_fields__
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"trl.{name}: unknown; {nearest(name, known)}")
        default = known[name].default
        is_number = isinstance(default, int | float) and "str" not in str(known[name].type)
        if is_number and isinstance(value, str):
            kind = "true or false" if isinstance(default, bool) else "a number"
            raise ConfigError(f"trl.{name}={value!r}: expected {kind}")
    loading = options.get("model_init_kwargs") or {}
    if not isinstance(loading, Mapping):
        raise ConfigError(f"trl.model_init_kwargs={loading!r}: expected options by name")
    passes = options.get("num_iterations", 1)
    if not isinstance(passes, int) or passes < 1:
        raise ConfigError(f"trl.num_iterations={passes!r}: expected a whole number of at least 1")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What TRL, transformers or peft say about an option of theirs, as an error of the user."""
    try:
        yield
    except VantageError:
        raise
    except (ImportError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"TRL refuses the options: {error}") from error


def _options(config: Config) -> dict[str, Any]:
    model, data, run = config.model, config.data, config.run
    return {
        "output_dir": run.output,
        "recipe": config.recipe,
        "variants": config.variants.model_dump(),
        "sampling": data.sampling,
        "check_data": False,  # looked at when they were loaded
        "freeze_vision_tower": model.freeze_vision_tower,
        "min_pixels": model.min_pixels,
        "max_pixels": model.max_pixels,
        "prompt_template": data.template,
        "system_prompt": data.system_prompt,
        "max_prompt_length": data.max_prompt_tokens,
        "long_prompts": data.long_prompts,
        "reward_weights": list(config.rewards.values()),
        "max_completion_length": config.generation.max_tokens,
        "temperature": config.generation.temperature,
        "top_p": config.generation.top_p,
        "learning_rate": config.optimizer.learning_rate,
        "weight_decay": config.optimizer.weight_decay,
        "max_grad_norm": config.optimizer.max_grad_norm,
        "lr_scheduler_type": config.optimizer.schedule,
        "seed": run.seed,
        "record": run.record.model_dump(),
        "router_aux_loss_coef": 0.0,  # no recipe has a loss that balances experts
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": run.report_to or "none",
        **_sizes(config),
    }


def _sizes(config: Config) -> dict[str, Any]:
    """Row counts as TRL names them."""
    batch, run = config.batch, config.run
    shape = replace(shape_of(config), passes=config.trl.get("num_iterations", 1))
    each = shape.each(PartialState().num_processes)
    forward = largest_divisor(each, batch.forward)
    if config.data.validation and run.validate_every % run.save_every:
        raise ConfigError(
            f"run.validate_every={run.validate_every} is no multiple of run.save_every="
            f"{run.save_every}: the best checkpoint could not be kept"
        )
    validation = {
        "eval_strategy": "steps",
        "eval_steps": run.validate_every * shape.steps,
        "metric_for_best_model": BEST,
        "eval_on_start": config.validation.before_training,
        "eval_temperature": config.validation.temperature,
        "num_generations_eval": config.validation.rollouts,
    }
    return {
        "num_generations": batch.rollouts,
        "packing": batch.packing,
        "per_device_train_batch_size": forward,
        "per_device_eval_batch_size": _rows_to_validate(config),
        "gradient_accumulation_steps": each // forward,
        "generation_batch_size": shape.generated,
        "num_train_epochs": run.epochs or 1,
        "save_steps": run.save_every * shape.steps,
        "save_total_limit": run.keep,
        **({"max_steps": run.batches * shape.steps} if run.batches else {}),
        **(validation if config.data.validation else {}),
    }


def _rows_to_validate(config: Config) -> int:
    """Responses that a process samples at once, all of a question together."""
    least = AT_ONCE if config.trl.get("use_vllm") else 8 * config.batch.forward
    return math.ceil(least / config.validation.rollouts) * config.validation.rollouts


class FinishOnInterrupt(TrainerCallback):
    """The first Ctrl-C finishes the rollout batch, saves and stops; the second stops at once."""

    asked = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C over, and give it back."""
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_step_end(self, args, state, control, **rest):
        """Stop where a rollout batch ends, all processes together."""
        if state.global_step % args.updates_per_rollout_batch:
            return
        accelerator = self.trainer.accelerator
        asked = torch.tensor(float(self.asked), device=accelerator.device)
        if accelerator.reduce(asked).item():
            control.should_save = control.should_training_stop = True

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this rollout batch, with a checkpoint; Ctrl-C again stops at once")
