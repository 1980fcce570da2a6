"""Loads the inputs of a run: data set rows, model and rewards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from safetensors import SafetensorError, safe_open

from vantage import model_files, plugins
from vantage.config import Config
from vantage.config import Judge as JudgeServer
from vantage.errors import ConfigError, nearest, reading
from vantage.questions.acceptance import acceptance
from vantage.questions.loading import load
from vantage.rewards import REWARDS
from vantage.rewards.judge import Judge
from vantage.rewards.opening import opened_by
from vantage.training.resolved import bounds_of

LAUNCHED = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK")
GRADING = ("accuracy", "tag_accuracy")  # rewards that must accept the reference of each row


def rows_of(
    config: Config, processor: Any = None, *, write_rejects: bool = True
) -> tuple[Dataset, Dataset | None]:
    """Load and check the rows to train and to validate on.

    Args:
        config: Configuration of the run.
        processor: Processor of the model, to find images that it cannot process; None skips this.
        write_rejects: Whether to write bad rows to the run's directory.

    Returns:
        Training rows, and validation rows or None.

    Raises:
        ConfigError, InputError: As `vantage.questions.loading.load`.
    """
    data, writes = config.data, write_rejects and PartialState().is_main_process

    def rows(path: str, split: str, rejects: str, **options) -> Dataset:
        return load(
            path,
            split=split,
            on_bad_row=data.on_bad_row,
            rejects=Path(config.run.output) / rejects if writes else None,
            **reading_options(config, processor),
            **options,
        )

    train = rows(data.train, data.split, "rejects.jsonl", variants=config.variants)
    if data.validation is None:
        return train, None
    return train, rows(data.validation, data.validation_split, "rejects-validation.jsonl")


def reading_options(config: Config, processor: Any = None) -> dict[str, Any]:
    """Options of `vantage.questions.loading.survey` for reading the data of a run."""
    return {
        "columns": config.data.columns,
        "layout": config.data.layout,
        "image_root": config.data.image_root,
        "graded_by": next((REWARDS[name] for name in GRADING if name in config.rewards), None),
        "takes": acceptance(processor, bounds_of(config)),
    }


def load_model(path: str, **options: Any) -> tuple[Any, Any]:
    """Load the processor (or tokenizer) and the configuration of a model, as engines do.

    Args:
        path: Directory (`~` already expanded), or name on the hub.
        options: Options such as revision and trust_remote_code; `subfolder` applies to the
            weights and configuration alone.

    Raises:
        ConfigError: The model does not exist, it has neither processor nor tokenizer, its
            weights are truncated, or its chat template does not terminate.
    """
    sides = {"truncation_side": "left", "padding_side": "left"}
    options = {"trust_remote_code": False, **options}
    model_files.check_model_files(path)
    with reading(f"model.path: {path!r} cannot be loaded", model_files.reason):
        from transformers import AutoConfig, AutoProcessor  # fails if torchvision is broken

        with model_files.alone(path):
            config = AutoConfig.from_pretrained(path, **options)
            _check_weights(Path(path, options.pop("subfolder", None) or "."))
            processor = AutoProcessor.from_pretrained(path, **sides, **options)
    if getattr(processor, "chat_template", None):
        model_files.check_template(path, lambda: opened_by(processor))
    return processor, config


def _check_weights(folder: Path) -> None:
    """Reject truncated safetensors files; reads only their headers."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise ConfigError(f"model.path: {str(file)!r} cannot be read: {error}") from error


def processes(*, cpu: bool = False) -> PartialState:
    """Join the process group that a launcher started.

    Args:
        cpu: Whether to train on CPUs even if there are GPUs.

    Raises:
        ConfigError: The launcher's environment variables are not numbers, or are inconsistent.
    """
    for name in LAUNCHED:
        with reading(f"the environment variable {name}, which a launcher sets, is not a number"):
            int(os.environ.get(name, 0))
    with reading("the environment variables of a launcher (WORLD_SIZE, RANK, ...) are invalid"):
        return PartialState(cpu=cpu)


def check_attention(kind: str | None) -> None:
    """Check that transformers has an attention implementation; names with a slash are hub kernels.

    Raises:
        ConfigError: transformers does not have it; suggests the closest name.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = ["eager", *ALL_ATTENTION_FUNCTIONS.keys()]
    if kind is not None and "/" not in kind and kind not in known:
        raise ConfigError(f"model.attention={kind!r}: {nearest(kind, known)}")


def reward_of(name: str, judge: JudgeServer | None = None) -> Callable[..., Any]:
    """Find a reward by its registered name, or load the user's own.

    Args:
        name: Registered name, or "file.py:function".
        judge: Configuration of the reward "judge".

    Raises:
        ConfigError: There is no such reward.
    """
    if plugins.is_own(name):
        return plugins.load(name)
    if name == "judge" and judge is not None:
        return _judge(judge)
    if name not in REWARDS:
        raise ConfigError(f"rewards: unknown {name!r}; {nearest(name, [*REWARDS, 'judge'])}")
    return REWARDS[name]


def _judge(asked: JudgeServer) -> Judge:
    from vantage.chat.server import Settings, key  # needs the extra `judge`

    settings = Settings(
        asked.base_url, asked.model, key(), timeout=asked.timeout, retries=asked.retries
    )
    return Judge(settings, asked.concurrency)


def part_names(rewards: Iterable[str]) -> list[str]:
    """Names of rewards in logs and records, without their paths; duplicates are numbered."""
    names: list[str] = []
    for reward in rewards:
        name = reward.rpartition(":")[2]
        again = sum(known.split(" #")[0] == name for known in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return names
