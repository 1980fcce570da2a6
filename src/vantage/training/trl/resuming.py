"""Checkpoints of a run on TRL: which one to resume from, and how to load and write it."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, is_peft_model
from transformers import TrainerState

from vantage import files
from vantage.errors import InputError
from vantage.training import checkpoints
from vantage.training.session import Session
from vantage.training.trl.config import VantageConfig, check_steps, steps_of
from vantage.training.trl.policy import SHARDED

# Entries of a log line that do not belong to a rollout batch.
OF_UPDATES = {"loss", "grad_norm", "learning_rate", "epoch", "step"}

logger = logging.getLogger(__name__)


def resumed_from(
    given: str | bool | None, args: VantageConfig, last_update: int, accelerator: Accelerator
) -> Path | None:
    """Find the checkpoint to resume from on the main process, and broadcast it.

    Args:
        given: `resume_from_checkpoint`: a directory, or True for the last complete checkpoint of
            the run, if there is one.
        args: Options of the trainer.
        last_update: Number of optimizer updates of the whole run.
        accelerator: Accelerator of the run.

    Raises:
        InputError: The given checkpoint is incomplete, or it was saved inside a rollout batch
            and the run is to continue.
    """
    found: list[Any] = [None, None]
    if given and accelerator.is_main_process:
        try:
            found[0] = _checked(given, Path(args.output_dir), last_update)
        except InputError as error:
            found[1] = str(error)
    broadcast_object_list(found)
    if found[1]:
        raise InputError(found[1])
    return found[0]


def _checked(given: str | bool, run: Path, last_update: int) -> Path | None:
    last = checkpoints.last_complete(run) if given is True else Path(files.home(str(given)))
    if last is None:
        checkpoints.check_none_lost(run)
        return None
    damage = checkpoints.damage_of(last) if given is not True else None
    if damage:
        raise InputError(
            f"resume_from_checkpoint={str(last)!r} is not a complete checkpoint: {damage}"
        )
    if not checkpoints.stops_inside(last) or checkpoints.updates_of(last) >= last_update:
        return last
    before = checkpoints.last_complete(run, between_batches=True)
    if given is True and before:
        logger.warning(f"{last.name} stopped inside a rollout batch: resuming from {before}")
        return before
    remedy = f"resume from {before}" if before else "start a new run"
    raise InputError(
        f"resume_from_checkpoint={str(last)!r}: the run stopped there inside a rollout batch, "
        f"whose rollouts are not saved, so it cannot continue to {last_update} updates: {remedy}"
    )


def restore(session: Session, checkpoint: Path | None) -> None:
    """Restore the state of the session, if there is a checkpoint.

    Raises:
        InputError: The checkpoint has none, or the run had other data.
    """
    if checkpoint is None:
        return
    where = f"resume_from_checkpoint={str(checkpoint)!r}"
    session.load_state_dict(checkpoints.load_sampling(checkpoint), where)


def is_saved(checkpoint: Path, accelerator: Accelerator) -> bool:
    """Whether a checkpoint is complete on the main process, the same answer on all processes."""
    found = [accelerator.is_main_process and checkpoints.marked(checkpoint)]
    broadcast_object_list(found)
    return found[0]


def loads_weights(accelerator: Accelerator, model: Any) -> bool:
    """Whether `load_weights` replaces transformers' own loading.

    It does not for adapters, nor under FSDP and DeepSpeed, which load the shard of each process.
    """
    return accelerator.distributed_type not in SHARDED and not is_peft_model(model)


def load_weights(model: Any, checkpoint: str) -> None:
    """Load weights as `from_pretrained` does.

    Many vision-language models save weights under other names than those of their modules. The
    trainer of transformers ignores this, and silently loads none of them.
    Source: https://github.com/huggingface/transformers/issues/43701

    Raises:
        InputError: The weights belong to another model.
    """
    widest = max((p.dtype for p in model.parameters()), key=lambda dtype: dtype.itemsize)
    saved = type(model).from_pretrained(checkpoint, dtype=widest)
    try:
        model.load_state_dict(saved.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"resume_from_checkpoint={str(checkpoint)!r}: its weights do not fit the "
            f"{type(model).__name__} that the run has now: resume with the same model"
        ) from error


def check_saves(args: VantageConfig, last_update: int, *, warns: bool) -> None:
    """Check that evaluated weights can be saved, and warn if checkpoints will be delayed.

    Args:
        args: Options of the run.
        last_update: Number of optimizer updates of the whole run.
        warns: Whether this process logs warnings.

    Raises:
        ConfigError: The best checkpoint depends on an evaluation inside a rollout batch.
    """
    check_steps(args, last_update)
    every, steps = args.updates_per_rollout_batch, steps_of(args.save_steps, last_update)
    if warns and args.save_strategy == "steps" and steps % every:
        logger.warning(
            f"save_steps={steps}: a checkpoint waits for the end of its rollout "
            f"batch of {every} updates"
        )


def with_last_metrics(logs: dict[str, float], state: TrainerState) -> dict[str, float]:
    """Add the metrics of the last log line to the summary at the end of a run.

    TRL's summary has the metrics of updates that were not logged yet. Here there are none, since
    saving a checkpoint logs them.

    Args:
        logs: The summary, or any other log line, which stays unchanged.
        state: State of the trainer.
    """
    if "train_loss" not in logs or not state.global_step % max(state.logging_steps, 1):
        return logs
    last: dict[str, float] = next(
        (line for line in reversed(state.log_history) if "loss" in line), {}
    )
    return logs | {name: value for name, value in last.items() if name not in OF_UPDATES}


@contextlib.contextmanager
def whole(
    checkpoint: Path, accelerator: Accelerator, finish: Callable[[], None], *, saves: bool
) -> Iterator[None]:
    """Write a checkpoint within the context, then mark it complete once all processes are done.

    Args:
        checkpoint: Directory of the checkpoint; an unfinished one there is removed.
        accelerator: Accelerator of the run.
        finish: Runs before the checkpoint is marked.
        saves: Whether this process saves: `TrainingArguments.should_save`.

    Raises:
        EngineError: The checkpoint cannot be written; earlier ones are kept.
    """
    with checkpoints.written(checkpoint):
        if saves:
            shutil.rmtree(checkpoint, ignore_errors=True)
        accelerator.wait_for_everyone()
        yield
        accelerator.wait_for_everyone()
        if saves:
            finish()
            checkpoints.mark_complete(checkpoint)
