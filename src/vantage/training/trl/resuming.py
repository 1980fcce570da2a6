"""Whole checkpoints of a run on TRL: which one to resume from, and how to load its weights."""

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
from vantage.training.trl.config import VantageConfig, check_steps, steps_of
from vantage.training.trl.policy import SHARDED

# What a line of the log has besides metrics.
OF_UPDATES = {"loss", "grad_norm", "learning_rate", "epoch", "step"}

logger = logging.getLogger(__name__)


def resumed_from(
    given: str | bool | None, run: Path, last_update: int, accelerator: Accelerator
) -> Path | None:
    """The checkpoint to resume from, as the main process finds it.

    Args:
        given: `resume_from_checkpoint`: a directory, or True for the last whole checkpoint of
            the run, if there is one.
        run: directory of the run.
        last_update: updates of the whole run.
        accelerator: of the run.

    Raises:
        InputError: the checkpoint that was given is not whole, or the run stopped inside a
            rollout batch there and is to train further.
    """
    found: list[Any] = [None, None]
    if given and accelerator.is_main_process:
        try:
            found[0] = _checked(given, run, last_update)
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
            f"resume_from_checkpoint={str(last)!r} is not a whole checkpoint: {damage}"
        )
    if not checkpoints.stops_inside(last) or checkpoints.updates_of(last) >= last_update:
        return last
    before = checkpoints.last_complete(run, between_batches=True)
    if given is True and before:
        logger.warning(f"{last.name} stopped inside a rollout batch: going on from {before}")
        return before
    remedy = f"resume from {before}" if before else "start the run anew"
    raise InputError(
        f"resume_from_checkpoint={str(last)!r}: the run stopped there inside a rollout batch, "
        f"whose rollouts are not kept, and is now to make {last_update} updates: {remedy}"
    )


def loads_weights(accelerator: Accelerator, model: Any) -> bool:
    """Whether `load_weights` takes the place of transformers' own way.

    It does not for adapters, and not where FSDP or DeepSpeed load what each process keeps.
    """
    return accelerator.distributed_type not in SHARDED and not is_peft_model(model)


def load_weights(model: Any, checkpoint: str) -> None:
    """Load weights as `from_pretrained` does.

    Weights of many vision-language models are saved under other names than those of their modules,
    which the trainer of transformers does not know; it would go on without loading any.
    Source: https://github.com/huggingface/transformers/issues/43701

    Raises:
        InputError: they are those of another model.
    """
    widest = max((p.dtype for p in model.parameters()), key=lambda dtype: dtype.itemsize)
    saved = type(model).from_pretrained(checkpoint, dtype=widest)
    try:
        model.load_state_dict(saved.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"resume_from_checkpoint={str(checkpoint)!r}: its weights are not "
            f"those of the {type(model).__name__} that the run has now: give it the same "
            "model"
        ) from error


def check_saves(args: VantageConfig, last_update: int, *, warns: bool) -> None:
    """Refuse evaluations whose weights could not be saved; warn of checkpoints that wait.

    Args:
        args: of the run.
        last_update: updates of the whole run.
        warns: whether this process logs warnings.

    Raises:
        ConfigError: an evaluation inside a rollout batch decides which checkpoint is best.
    """
    check_steps(args, last_update)
    every, steps = args.updates_per_rollout_batch, steps_of(args.save_steps, last_update)
    if warns and args.save_strategy == "steps" and steps % every:
        logger.warning(
            f"save_steps={steps}: a checkpoint waits for the end of its rollout "
            f"batch of {every} updates"
        )


def with_last_metrics(logs: dict[str, float], state: TrainerState) -> dict[str, float]:
    """What a run logs at its end, with the metrics of the last line that has any.

    TRL's summary has the metrics of updates that no line had; the last checkpoint had them
    logged already.

    Args:
        logs: of the end of a run, or any others, which stay as they are.
        state: of the run.
    """
    if "train_loss" not in logs or not state.global_step % max(state.logging_steps, 1):
        return logs
    last: dict[str, float] = next(
        (line for line in reversed(state.log_history) if "loss" in line), {}
    )
    return logs | {name: value for name, value in last.items() if name not in OF_UPDATES}


@contextlib.contextmanager
def whole(checkpoint: Path, accelerator: Accelerator, finish: Callable[[], None]) -> Iterator[None]:
    """Within it, a checkpoint is written; it is marked as whole once all processes are done.

    Args:
        checkpoint: its directory; an unfinished one that stands there is removed.
        accelerator: of the run.
        finish: runs on the main process before the mark is set.

    Raises:
        EngineError: it cannot be written; earlier checkpoints stay.
    """
    with checkpoints.written(checkpoint):
        if accelerator.is_main_process:
            shutil.rmtree(checkpoint, ignore_errors=True)
        accelerator.wait_for_everyone()
        yield
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            finish()
            checkpoints.mark_complete(checkpoint)
