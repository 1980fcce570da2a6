"""One whole `vantage train` of two rollout batches, with a small VLM and generated images.

The model is a LLaVA with random weights; generation, rewards, plan, log-probs and updates are real.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import GenerationConfig, LlavaForConditionalGeneration

from gpu import command
from gpu.results import Case, Numbers
from vantage.demo import digits
from vantage.demo import model as demo

# Hidden units, layers, heads of the language model; questions, rollouts, tokens per response.
LARGE, TINY = (1024, 8, 16), (96, 2, 4)
BATCH, TINY_BATCH = (16, 8, 128), (4, 2, 6)
DIGITS = 2


def cases(tiny: bool) -> Iterator[Case]:
    """The single case."""
    yield "two batches of share-shuffle", lambda: whole(tiny)


def whole(tiny: bool) -> Numbers:
    """Train, and measure times and the share of weights that changed."""
    questions, rollouts, tokens = TINY_BATCH if tiny else BATCH
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        small_vlm(folder / "start", *(TINY if tiny else LARGE))
        digits.questions("reinforcement", n=4 * questions).to_parquet(folder / "train.parquet")
        config = {
            "model": {"path": str(folder / "start")},
            "data": {
                "train": str(folder / "train.parquet"),
                "template": "{question}",
                "columns": {"question": "question", "image": "image", "answer": "answer"},
            },
            "recipe": {"name": "share-shuffle", "fraction": 0.5, "rounds": 4},
            "variants": {"prompts": 2, "rewrites": "new_questions"},
            "rewards": {f"{Path(__file__)}:some": 1.0},
            "batch": {"questions": questions, "rollouts": rollouts, "updates": 2},
            "generation": {"max_tokens": tokens},
            "optimizer": {"learning_rate": 1e-6},
            "run": {"batches": 2},
            "trl": command.ENGINE,
        }
        began = time.perf_counter()
        record = command.train(folder, config)
        seconds = time.perf_counter() - began
        moved = share_moved(folder / "start", folder / "run" / "model")
        times = record.numbers("seconds")
        parts = {f"{name} s": float(values[-1]) for name, values in times.items()}
        generated = record.table("rollouts", ["reward"]).num_rows
    return {
        "command s": seconds,
        "batches": len(record),
        "rollouts": generated,
        "share of weights moved": moved,
        **parts,
    }


def small_vlm(directory: Path, hidden: int, layers: int, heads: int) -> None:
    """Write the demo's model in another size, untrained, with its processor."""
    reader = demo.processor(DIGITS)
    config = demo.configuration(reader.tokenizer, DIGITS)
    config.text_config.hidden_size, config.text_config.intermediate_size = hidden, 4 * hidden
    config.text_config.num_hidden_layers = layers
    config.text_config.num_attention_heads = config.text_config.num_key_value_heads = heads
    config.text_config.head_dim = hidden // heads
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=reader.tokenizer.eos_token_id, pad_token_id=reader.tokenizer.pad_token_id
    )
    model.save_pretrained(directory)
    reader.save_pretrained(directory)


def some(completions: list, **columns) -> list[float]:
    """Reward responses of even length, which an untrained model also produces sometimes."""
    return [float(len(str(text)) % 2 == 0) for text in completions]


def share_moved(before: Path, after: Path) -> float:
    """Share of the weights that differ between two saved models."""
    start, end = (load_file(place / "model.safetensors") for place in (before, after))
    names = start.keys() & end.keys()
    moved = sum((start[name].float() != end[name].float()).sum().item() for name in names)
    return moved / sum(start[name].numel() for name in names)
