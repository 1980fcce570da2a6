"""Trains with TRL from a configuration."""

from __future__ import annotations

import contextlib
import logging
import math
import pickle
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import PartialState
from accelerate.utils import gather
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from vantage import model_files
from vantage.config import Config
from vantage.errors import ConfigError, InputError, VantageError, nearest, reading
from vantage.training import checkpoints
from vantage.training.adapters import lora_of
from vantage.training.blame import blamed
from vantage.training.decided import check_decided, flat
from vantage.training.directory import check_output, locked, save
from vantage.training.inputs import check_attention, load_model, processes, reward_of, rows_of
from vantage.training.shape import largest_divisor, shape_of
from vantage.training.trl import VantageTrainer, precision, values
from vantage.training.trl.config import BEST, VantageConfig
from vantage.training.trl.loading import config_source
from vantage.training.trl.progress import ProgressLine

logger = logging.getLogger(__name__)

# Responses per validation batch with vLLM; fewer would underuse the GPU.
AT_ONCE = 256
ATTENTION = "model_init_kwargs.attn_implementation"
# Signals that end a run with a checkpoint.
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds within which a second SIGINT is the same Ctrl-C, forwarded by a launcher.
ONCE = 1.0


def train(
    config: Config,
    *,
    resume: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    interrupt: FinishOnSignal | None = None,
) -> VantageTrainer:
    """Train the model of a configuration, and save it in the run's directory.

    Ctrl-C and SIGTERM end the run after the current rollout batch, with a checkpoint. Nothing is
    written before the directory is locked.

    Args:
        config: The configuration, which is saved in the run's directory.
        resume: Whether to resume from the last complete checkpoint, if there is one.
        callbacks: Callbacks of the trainer; each gets the trainer as its attribute `trainer`.
        interrupt: Handles signals; afterwards its `asked` is the signal that ended the run.

    Raises:
        VantageError: Before the first rollout, the configuration, data or model is invalid;
            later, the user's code fails or a checkpoint cannot be written.
    """
    run, interrupt = Path(config.run.output), interrupt or FinishOnSignal()
    is_main = processes(cpu=bool(config.trl.get("use_cpu"))).is_main_process
    check_output(config, resume=resume)
    arguments(config)  # raises for invalid options before anything is written
    with locked(config) if is_main else contextlib.nullcontext(), blamed(config):
        if is_main:
            check_output(config, resume=resume)  # again, now that no other process can write there
        trainer = build(config)
        if is_main:
            save(config, as_yaml(trainer.args))
        for callback in (ProgressLine(trainer.session.recipe.name), interrupt, *callbacks):
            callback.trainer = trainer
            trainer.add_callback(callback)
        with interrupt.listening(), _numbers_alone(run):
            trainer.train(resume_from_checkpoint=resume or None)
        with checkpoints.writing(run / "model"):
            trainer.save_model(str(run / "model"))
            trainer.save_state()
    return trainer


def as_yaml(args: VantageConfig) -> str:
    """The options of a trainer as YAML, without secrets."""
    return yaml.safe_dump(args.to_dict(), sort_keys=False)


def part() -> None:
    """Wait for all processes of the run, then destroy the process group.

    Otherwise PyTorch's threads may abort the process at exit.
    """
    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


@contextlib.contextmanager
def _numbers_alone(run: Path) -> Iterator[None]:
    """Convert torch's error about a checkpoint with pickled code into an InputError."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f"--resume: a checkpoint in {str(run)!r} contains objects other than tensors, which "
            "are not loaded: restore it, or choose another directory"
        ) from error


def check_run(config: Config, *, resume: bool) -> None:
    """Check that the run overwrites no other run, and can resume if asked to.

    Raises:
        ConfigError, InputError: As `vantage.training.directory.check_output`, or no checkpoint
            is complete.
    """
    check_output(config, resume=resume)
    run = Path(config.run.output)
    if resume and checkpoints.last_complete(run) is None:
        checkpoints.check_none_lost(run)


def build(config: Config) -> VantageTrainer:
    """Build the trainer of a configuration, after checking model, data and rewards."""
    args = arguments(config)
    processor, known = load_model(config.model.path, **config_source(args))
    values.check_model(args, known)
    rows, validation = rows_of(config, processor)
    rewards = [reward_of(name, config.judge) for name in config.rewards]
    asking = reading("trl.push_to_hub: cannot reach the hub")
    hub = asking if args.push_to_hub else contextlib.nullcontext()
    with hub, _refusals(), _weights(config.model.path):
        trainer = VantageTrainer(
            config.model.path,
            rewards,
            args,
            rows,
            validation,
            peft_config=lora_of(config.model.lora),
        )
    trainer.remove_callback(PrinterCallback)
    _say_what_is_left_out(config, trainer)
    if args.max_steps <= 0:  # a fraction of an epoch ends after a whole rollout batch
        batches = math.ceil(trainer.session.batches_per_epoch * args.num_train_epochs)
        args.max_steps = batches * args.updates_per_rollout_batch
    return trainer


@contextlib.contextmanager
def _weights(path: str) -> Iterator[None]:
    """Convert errors about weights that are damaged or contain code into a ConfigError."""
    try:
        yield
    except (SafetensorError, pickle.UnpicklingError, EOFError, LookupError) as error:
        why = model_files.reason(error)
        raise ConfigError(f"model.path: {path!r} cannot be loaded: {why}") from error


def _say_what_is_left_out(config: Config, trainer: VantageTrainer) -> None:
    own = getattr(trainer.model.config.get_text_config(), "router_aux_loss_coef", None)
    if own and "router_aux_loss_coef" not in config.trl and trainer.accelerator.is_main_process:
        logger.warning(
            f"the load-balancing loss of this model's experts is disabled, since no recipe has "
            f"one; trl.router_aux_loss_coef: {own:g} enables it with the model's own coefficient, "
            "without packing"
        )


def arguments(config: Config) -> VantageConfig:
    """Build TRL's options from the sections of a configuration and the options under `trl`.

    Raises:
        ConfigError: An option under `trl` is unknown, has an invalid value or contradicts a
            section, or sizes do not divide.
    """
    given = values.checked(config.trl)
    decided, exact = _decided(config), precision.options(config)
    check_decided("trl", decided, dict(flat(given, values.WHOLE)), values.INSTEAD)
    left = {name: value for name, value in given.items() if name not in decided}
    options = _unless_given(config) | exact | left | decided
    # These already include the options under `trl`.
    options |= {name: exact[name] for name in ("model_init_kwargs", *precision.SWITCHES)}
    for name in (ATTENTION, "steps_per_generation"):  # implied by the batch size
        options.pop(name, None)
    with _refusals():
        made = VantageConfig(**options)
    values.check_together(made, validates=config.data.validation is not None)
    check_attention((made.model_init_kwargs or {}).get("attn_implementation"))
    for name in made.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            hint = nearest(name, INTEGRATION_TO_CALLBACK)
            raise ConfigError(f"run.report_to: TRL does not support {name!r}; {hint}")
    return made


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Convert errors of TRL, transformers or peft about their options into a ConfigError."""
    try:
        yield
    except VantageError:
        raise
    except (
        *(ImportError, TypeError, ValueError, OSError),
        *(ArithmeticError, AttributeError),
    ) as error:
        raise ConfigError(f"TRL rejects the options: {error}") from error


def _unless_given(config: Config) -> dict[str, Any]:
    """Our defaults of options that no section determines; options under `trl` override them."""
    validates = config.data.validation is not None
    return {
        "check_data": False,  # rows were checked when they were loaded
        "router_aux_loss_coef": 0.0,  # no recipe has a load-balancing loss
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": "none",
        "per_device_eval_batch_size": _rows_to_validate(config),
        **({"metric_for_best_model": BEST} if validates else {}),
    }


def _decided(config: Config) -> dict[str, Any]:
    """Options that the sections determine."""
    model, data, run = config.model, config.data, config.run
    return {
        "output_dir": run.output,
        "recipe": config.recipe,
        "variants": config.variants.model_dump(),
        "sampling": data.sampling,
        "freeze_vision_tower": model.freeze_vision_tower,
        "min_pixels": model.min_pixels,
        "max_pixels": model.max_pixels,
        "prompt_template": data.template,
        "system_prompt": data.system_prompt,
        "max_prompt_length": data.max_prompt_tokens,
        "on_long_prompt": data.on_long_prompt,
        "reward_weights": list(config.rewards.values()),
        "max_completion_length": config.generation.max_tokens,
        "temperature": config.generation.temperature,
        "top_p": config.generation.top_p,
        "learning_rate": config.optimizer.learning_rate,
        "weight_decay": config.optimizer.weight_decay,
        "max_grad_norm": config.optimizer.max_grad_norm,
        "lr_scheduler_type": config.optimizer.schedule,
        "compensated_sums": config.optimizer.weights == "bfloat16",
        "seed": run.seed,
        "max_silent_batches": run.max_silent_batches,
        "record": run.record.model_dump(),
        **({ATTENTION: model.attention} if model.attention else {}),
        **({"report_to": run.report_to} if run.report_to else {}),
        **_sizes(config),
    }


def _sizes(config: Config) -> dict[str, Any]:
    """Sizes and intervals under TRL's names."""
    batch, run = config.batch, config.run
    shape = replace(shape_of(config), passes=config.trl.get("num_iterations", 1))
    each = shape.each(PartialState().num_processes)
    forward = largest_divisor(each, batch.micro_batch)
    return {
        "num_generations": batch.rollouts,
        "packing": batch.packing,
        "per_device_train_batch_size": forward,
        "gradient_accumulation_steps": each // forward,
        "generation_batch_size": shape.generated,
        "steps_per_generation": shape.updates * (each // forward),
        "num_train_epochs": run.epochs or 1,
        "max_steps": run.batches * shape.steps if run.batches else -1,
        "save_steps": run.save_every * shape.steps,
        "save_total_limit": run.keep_checkpoints,
        **(_validation(config, shape.steps) if config.data.validation else {}),
    }


def _validation(config: Config, steps: int) -> dict[str, Any]:
    """TRL's options of validation; `steps` is the number of updates per rollout batch."""
    run, validation = config.run, config.validation
    if run.validate_every % run.save_every:
        raise ConfigError(
            f"run.validate_every={run.validate_every} is not a multiple of run.save_every="
            f"{run.save_every}: the best checkpoint could not be kept"
        )
    return {
        "eval_strategy": "steps",
        "eval_steps": run.validate_every * steps,
        "eval_on_start": validation.before_training,
        "eval_temperature": validation.temperature,
        "num_generations_eval": validation.rollouts,
    }


def _rows_to_validate(config: Config) -> int:
    """Responses per validation batch and process, a multiple of the responses per question."""
    least = AT_ONCE if config.trl.get("use_vllm") else 8 * config.batch.micro_batch
    return math.ceil(least / config.validation.rollouts) * config.validation.rollouts


class FinishOnSignal(TrainerCallback):
    """Ends the run after the rollout batch, with a checkpoint, at the first Ctrl-C or SIGTERM.

    A second Ctrl-C stops at once. A second SIGTERM does not, since launchers forward signals that
    their processes have already received.

    Attributes:
        asked: The signal that some process received, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._at = -math.inf
        self._says = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within the context, then restore the previous handlers."""
        before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_begin(self, args, state, control, **rest):
        """Print only on the main process."""
        self._says = state.is_world_process_zero

    def on_step_end(self, args, state, control, **rest):
        """Stop all processes together at the end of a rollout batch."""
        if state.global_step % args.updates_per_rollout_batch:
            return
        asked = torch.tensor([self.asked], device=PartialState().device)
        self.asked = int(gather(asked).max())
        if self.asked:
            control.should_save = control.should_training_stop = True

    def _ask(self, number, frame):
        again = number == signal.SIGINT == self.asked and time.monotonic() > self._at + ONCE
        if again:
            raise KeyboardInterrupt
        first, self.asked = not self.asked, self.asked or number
        if first:
            self._at = time.monotonic()
        if first and self._says:
            rest = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            print(f"\nstopping after this rollout batch, with a checkpoint{rest}", flush=True)
