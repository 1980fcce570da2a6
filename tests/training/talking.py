"""Captures the arguments of reward functions, reward models and rollout functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from families import text, words
from PIL import Image
from training_cases import OPTIONS
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import remove_none_values

from vantage.training.trl import VantageConfig, VantageTrainer

RED, BLUE = (Image.new("RGB", (28, 28), colour) for colour in ("red", "blue"))
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
KINDS = {"trl": (GRPOTrainer, GRPOConfig), "vantage": (VantageTrainer, VantageConfig)}


def user(content, **more):
    return {"role": "user", "content": content, **more}


def said(content, **more):
    return {"role": "assistant", "content": content, **more}


def part(words: str):
    return {"type": "text", "text": words}


def image(picture=None):
    return {"type": "image"} if picture is None else {"type": "image", "image": picture}


def plain(value: Any) -> Any:
    """A comparable value: images as pixels, without None that a data set filled in."""
    if isinstance(value, Image.Image):
        return value.size, value.convert("RGB").tobytes()
    if isinstance(value, dict):
        return {name: plain(held) for name, held in remove_none_values(value).items()}
    return [plain(held) for held in value] if isinstance(value, list) else value


def written(processor, prompt) -> list[int]:
    """Tokens of a prompt."""
    if isinstance(prompt, str):
        return processor(text=[prompt])["input_ids"][0]
    options = {"tokenize": True, "add_generation_prompt": True, "return_dict": True}
    return processor.apply_chat_template([prompt], **options)["input_ids"][0]


@dataclass
class Told:
    """Arguments in one rollout batch: of the reward function, the rollout function, and the
    tokenizer of the reward model.
    """

    rewarded: list[Any] = field(default_factory=list)
    rolled_out: list[Any] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)

    def reward(self, prompts, completions, completion_ids, **columns):
        """A reward function that notes what it gets."""
        passed = ("trainer_state", "log_extra", "log_metric")
        kept = {name: plain(held) for name, held in columns.items() if name not in passed}
        self.rewarded.append((plain(prompts), completions, kept))
        return [float(sum(ids) % 3) for ids in completion_ids]

    def rollout(self, prompts, made):
        """A rollout function that notes what it gets, and answers 20 30 2, 21 30 2, ..."""
        self.rolled_out.append(plain(prompts))
        responses = [[20 + number % 4, 30, 2] for number in range(len(prompts))]
        ids = [written(made.processing_class, prompt) for prompt in prompts]
        return {"prompt_ids": ids, "completion_ids": responses, "logprobs": None}


class Listening:
    """A tokenizer that notes what it reads."""

    def __init__(self, tokenizer, heard: list[str]):
        self._tokenizer, self._heard = tokenizer, heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text, **rest):
        self._heard += text
        return self._tokenizer(text=text, **rest)


def reward_model() -> tuple[Qwen2ForSequenceClassification, Any]:
    """A tiny reward model and its tokenizer."""
    tokenizer = words()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen2Config(**text(tokenizer), num_labels=1)
        config._name_or_path = "rewarding"
        return Qwen2ForSequenceClassification(config), tokenizer


@pytest.fixture(scope="session")
def text_model(tmp_path_factory):
    """Directory of an untrained model of text alone."""
    folder, tokenizer = str(tmp_path_factory.mktemp("text") / "model"), words()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen2ForCausalLM(Qwen2Config(**text(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained_by(kind: str, model: str, rows, tmp_path, rewards, rest=None, **options):
    """A trainer of that kind after one batch of two rollouts a row."""
    trainer, config = KINDS[kind]
    many = {"per_device_train_batch_size": 2 * len(rows), "steps_per_generation": 1}
    args = {**OPTIONS, "num_generations": 2, "max_completion_length": 3, "max_steps": 1, "top_k": 1}
    made = trainer(
        model,
        rewards,
        config(str(tmp_path / kind), **{**args, **many, **options}),
        rows,
        **rest or {},
    )
    made.train()
    return made
