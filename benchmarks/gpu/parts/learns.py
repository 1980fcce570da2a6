"""Train a real pretrained model with `vantage train`: SmolLM2-135M-Instruct on additions.

No question is asked twice, so the reward of a batch is measured on unseen questions.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from gpu import command
from gpu.pretrained import smollm2
from gpu.results import Case, Numbers
from vantage.demo import model as demo
from vantage.record import Record

LARGEST, SECONDS = 30, 75  # largest summand; time limit of training, including loading
ENDS = 3  # rollout batches averaged for "before" and "after"
SETTINGS = {"questions": 32, "rollouts": 8, "batches": 28, "tokens": 16, "rate": 2e-5}
TINY = {"questions": 4, "rollouts": 2, "batches": 2, "tokens": 6, "rate": 1e-5}


def cases(tiny: bool) -> Iterator[Case]:
    """The single case."""
    yield "additions of two numbers", lambda: additions(tiny)


def additions(tiny: bool) -> Numbers:
    """Reward in the first and the last batches, with standard errors over batches."""
    settings = TINY if tiny else SETTINGS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        began = time.perf_counter()
        (small if tiny else smollm2)(folder / "start")
        loaded = time.perf_counter()
        write_questions(folder / "train.jsonl", settings["questions"] * settings["batches"])
        record = command.train(
            folder, configuration(folder, **settings), seconds=None if tiny else SECONDS
        )
        trained = time.perf_counter()
        return {
            **ends(rewards(record)),
            "batches": len(record),
            "rollouts a batch": settings["questions"] * settings["rollouts"],
            "loading s": loaded - began,
            "training s": trained - loaded,
        }


def configuration(
    folder: Path, *, questions: int, rollouts: int, batches: int, tokens: int, rate: float
) -> dict:
    """Configuration of plain GRPO with two updates per batch."""
    return {
        "model": {"path": str(folder / "start")},
        "data": {"train": str(folder / "train.jsonl"), "template": "{question}"},
        "recipe": "grpo",
        "rewards": {f"{Path(__file__)}:right": 1.0},
        "batch": {
            "questions": questions,
            "rollouts": rollouts,
            "updates": 2,
            "micro_batch": questions * rollouts,
        },
        "generation": {"max_tokens": tokens, "temperature": 0.7},
        "optimizer": {"learning_rate": rate, "weight_decay": 0.0},
        "run": {"batches": batches, "save_every": batches},
        "trl": {"gradient_checkpointing": False, **command.ENGINE},
    }


def write_questions(file: Path, number: int) -> None:
    """Write distinct additions of two numbers as JSON lines."""
    chosen = np.random.default_rng(0).permutation(LARGEST**2)[:number]
    pairs = [(int(c) // LARGEST + 1, int(c) % LARGEST + 1) for c in chosen]
    rows = [
        {"question": f"What is {a} + {b}? Answer with the number only.", "answer": str(a + b)}
        for a, b in pairs
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def right(completions: list, answer: list[str], **columns) -> list[float]:
    """Reward 1.0 if the last number of a response is the answer."""
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    found = [re.findall(r"\d+", text)[-1:] for text in texts]
    return [float(numbers == [str(a)]) for numbers, a in zip(found, answer, strict=True)]


def rewards(record: Record) -> np.ndarray:
    """Mean reward of each rollout batch."""
    tables = [record.step(step, "rollouts", ["reward"])["reward"] for step in record.steps]
    return np.array([np.nanmean(column.to_numpy()) for column in tables])


def ends(reward_B: np.ndarray) -> Numbers:
    """Means over the first and the last batches: `ENDS` of them, or half of all if fewer."""
    count = max(1, min(ENDS, len(reward_B) // 2))
    found: Numbers = {}
    for name, part in (("before", reward_B[:count]), ("after", reward_B[-count:])):
        found[f"reward {name}"] = float(part.mean())
        if count > 1:
            found[f"error {name}"] = float(part.std(ddof=1) / count**0.5)
    return found


def small(directory: Path) -> None:
    """Write a tiny language model with random weights."""
    tokenizer = demo.tokenizer(demo.sentences())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
