"""A small training run that resumes from its last complete checkpoint, and keeps a journal."""

import functools
import itertools
import json
import os
import random
import resource
import signal
import sys
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback

from vantage import cli
from vantage.training.trl import VantageConfig, VantageTrainer
from vantage.training.trl.run import FinishOnSignal

OPTIONS = {
    "max_steps": 24,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-3,
    "eval_strategy": "steps",
    "per_device_eval_batch_size": 8,
    "metric_for_best_model": "reward",
    "load_best_model_at_end": True,
    "save_strategy": "steps",
    "save_total_limit": 2,
    "logging_strategy": "steps",
    "disable_tqdm": True,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "seed": 5,
}
ROOM = 200_000  # bytes: less than the weights, more than what tells of a run
FILE_EVENTS = ("open", "os.mkdir", "shutil.rmtree")


def train(
    run: Path,
    model: str,
    rows: Dataset,
    options: dict,
    *,
    lora: bool = False,
    resume: str | bool = True,
    die_at: int | None = None,
    full_at: int | None = None,
    fail_at: int | None = None,
) -> None:
    """Train to the end, until SIGTERM, or until operation number `die_at` on files of checkpoints.

    From operation number `full_at` on no file can grow beyond `ROOM`. The reward of the last
    process fails in rollout batch `fail_at`.
    """
    if die_at is not None:
        sys.addaudithook(_at(die_at, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    if full_at is not None:
        sys.addaudithook(_at(full_at, functools.partial(_fill, ROOM)))
    interrupt = FinishOnSignal()
    trainer = VantageTrainer(
        model,
        [brevity, luck, *([_Failing(fail_at)] if fail_at is not None else [])],
        VantageConfig(str(run), **OPTIONS | options),
        rows.select(range(20)),
        rows.select(range(36, 40)),
        callbacks=[_Journal(run), interrupt],
        peft_config=LoraConfig(target_modules=["q_proj", "v_proj"]) if lora else None,
    )
    interrupt.trainer = trainer
    with interrupt.listening():
        trainer.train(resume_from_checkpoint=resume)
    if interrupt.asked and trainer.state.global_step < trainer.state.max_steps:
        sys.exit(128 + interrupt.asked)
    trainer.save_model(str(run / "final"))


def brevity(completion_ids, **_):
    return [1 / len(ids) for ids in completion_ids]


def luck(completions, **_):
    """Drawn from a random state that only the checkpoint knows."""
    return [float(random.random() < 0.3) for _ in completions]


class _Failing:
    """A reward that is 0, and fails on the last process in a rollout batch."""

    __name__ = "failing"

    def __init__(self, batch: int):
        self.batch, self.calls = batch, 0

    def __call__(self, completions, **_):
        self.calls += 1
        last = int(os.environ.get("WORLD_SIZE", 1)) - 1
        if self.calls > self.batch and int(os.environ.get("RANK", 0)) == last:
            raise ZeroDivisionError("only here")
        return [0.0 for _ in completions]


class _Journal(TrainerCallback):
    """Writes every logged line to a file, independent of checkpoints."""

    def __init__(self, run: Path):
        self.path = run / "journal.jsonl"

    def on_log(self, args, state, control, logs, **_):
        if state.is_world_process_zero:
            with self.path.open("a") as journal:
                journal.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def command(arguments: list[str], room: int | None = None) -> None:
    """`vantage` with these arguments, where no file can grow beyond `room` bytes."""
    if room is not None:
        _fill(room)
    sys.argv = ["vantage", *arguments]
    cli.main()


def _fill(room: int) -> None:
    """Simulate a full disk for this process alone."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


def _at(nth: int, happen):
    numbers = itertools.count(1)

    def hook(event, arguments):
        inside = event in FILE_EVENTS and "checkpoint-" in str(arguments[0])
        removed = event == "os.remove" and arguments[1] != -1
        if (inside or removed) and next(numbers) == nth:
            happen()

    return hook
