"""A small training run that goes on from its last whole checkpoint, and keeps a journal."""

import itertools
import json
import os
import random
import signal
import sys
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback

from vantage.training.trl import VantageConfig, VantageTrainer

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
) -> None:
    """Train to the end, or until operation number `die_at` on files of checkpoints."""
    if die_at is not None:
        sys.addaudithook(_dying(die_at))
    trainer = VantageTrainer(
        model,
        [brevity, luck],
        VantageConfig(str(run), **OPTIONS | options),
        rows.select(range(20)),
        rows.select(range(36, 40)),
        callbacks=[_Journal(run)],
        peft_config=LoraConfig(target_modules=["q_proj", "v_proj"]) if lora else None,
    )
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(str(run / "final"))


def brevity(completion_ids, **_):
    return [1 / len(ids) for ids in completion_ids]


def luck(completions, **_):
    """Drawn from a random state that only the checkpoint knows."""
    return [float(random.random() < 0.3) for _ in completions]


class _Journal(TrainerCallback):
    """Writes every line that is logged to a file, whatever becomes of the checkpoints."""

    def __init__(self, run: Path):
        self.path = run / "journal.jsonl"

    def on_log(self, args, state, control, logs, **_):
        if state.is_world_process_zero:
            with self.path.open("a") as journal:
                journal.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def _dying(nth: int):
    numbers = itertools.count(1)

    def hook(event, arguments):
        inside = event in FILE_EVENTS and "checkpoint-" in str(arguments[0])
        removed = event == "os.remove" and arguments[1] != -1
        if (inside or removed) and next(numbers) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook
