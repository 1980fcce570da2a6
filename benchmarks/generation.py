"""Compare sampling with one forward over each prompt with `generate` of transformers, alternating.

Both sample G responses of R tokens to each of 4 prompts of P tokens with an image, from a tiny
Qwen2.5-VL (512 hidden units, 2 + 2 layers, random weights). With ragged responses, a response ends
at each token with the same probability, after R / 2 tokens on average, and at most after R.

    python benchmarks/generation.py    # 4 minutes
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from qwen import processor_of, qwen
from transformers import LogitsProcessor
from update_step import ratios, rows, synchronize

from vantage.decoding import Decoding

TURNS = 5
QUESTIONS = 4
END = 1  # id of the token that ends a response


@dataclass(frozen=True)
class Work:
    """Responses to sample.

    Attributes:
        name: Name of the case.
        side: Pixels per side of the square image.
        response: Maximum number of tokens of a response, R.
        group: Responses per prompt, G.
        ragged: Whether responses have different lengths.
    """

    name: str
    side: int
    response: int
    group: int = 8
    ragged: bool = False


CASES = (
    Work("P = 266, R = 128", 224, 128),
    Work("P = 266, R = 128, ragged", 224, 128, ragged=True),
    Work("P = 1,000, R = 128", 442, 128),
    Work("P = 1,000, R = 128, G = 16", 442, 128, group=16),
    Work("digits (P = 14, R = 8)", 28, 8),
)


class Ending(LogitsProcessor):
    """Ends a response at each token with probability `share`, or never."""

    def __init__(self, share: float):
        self.share = share

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the probability of the last token; scores have shape (R, V)."""
        scores = scores.log_softmax(dim=-1)
        scores[:, END] = -torch.inf
        if self.share:
            rest = scores.logsumexp(dim=-1)
            scores[:, END] = rest + torch.tensor(self.share / (1 - self.share)).log()
        return scores


def prompts(work: Work, processor: Any) -> dict[str, Any]:
    """Inputs of the model for the prompts."""
    made = []
    for row in rows(work, QUESTIONS):
        parts = [{"type": "image", "image": row["images"][0]}, {"type": "text", "text": "Add."}]
        made.append([{"role": "user", "content": parts}])
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    return dict(processor.apply_chat_template(made, add_generation_prompt=True, **options))


def repeated(inputs: dict[str, Any], group: int) -> dict[str, Any]:
    """The prompts once per response; pixel values have one row per patch."""
    patches = len(inputs["pixel_values"]) // QUESTIONS
    pixels = inputs["pixel_values"].reshape(QUESTIONS, patches, -1)
    every = {name: value.repeat_interleave(group, dim=0) for name, value in inputs.items()}
    return every | {"pixel_values": pixels.repeat_interleave(group, dim=0).flatten(0, 1)}


def sides(model: Any, processor: Any, work: Work) -> dict[str, Callable[[int], int]]:
    """Each side: seed -> number of sampled tokens."""
    inputs = {n: v.to(model.device) for n, v in prompts(work, processor).items()}
    every, length = repeated(inputs, work.group), inputs["input_ids"].shape[1]
    prompt_N = [row for row in range(QUESTIONS) for _ in range(work.group)]
    options = {
        "do_sample": True,
        "max_new_tokens": work.response,
        "logits_processor": [Ending(2 / work.response if work.ragged else 0.0)],
        "eos_token_id": END,
        "pad_token_id": 0,
    }

    def sample(asked: dict[str, Any], context: contextlib.AbstractContextManager) -> int:
        with context:
            found = model.generate(**asked, **options)[:, length:]
        ends = (found == END).int().cumsum(dim=1)
        return int(((ends == 0) | ((ends == 1) & (found == END))).sum())

    def plain(seed: int) -> int:
        torch.manual_seed(seed)
        return sample(every, contextlib.nullcontext())

    def ours(seed: int) -> int:
        seeds = [(seed, number) for number in range(len(prompt_N))]
        return sample(inputs, Decoding(prompt_N, seeds).applies(model))

    return {"generate": plain, "ours": ours}


def compare(model: Any, processor: Any, work: Work, turns: int = TURNS) -> dict[str, list[float]]:
    """Seconds per sampled token of each side, by turn."""
    found: dict[str, list[float]] = {"generate": [], "ours": []}
    both = sides(model, processor, work)
    for number in range(turns + 1):
        for name, sample in both.items():
            began = time.perf_counter()
            tokens = sample(number)
            synchronize()
            if number:  # the first turn warms up
                found[name].append((time.perf_counter() - began) / tokens)
    return found


def main() -> None:
    print("sampling                        generate, tokens/s   ours, tokens/s  ratio", flush=True)
    for work in CASES:
        seconds = compare(qwen(300).eval(), processor_of(work.side), work)
        median, least, most = ratios(seconds["generate"], seconds["ours"])
        plain, ours = (1 / statistics.median(seconds[name]) for name in ("generate", "ours"))
        print(
            f"{work.name:32} {plain:18.0f} {ours:16.0f} {median:6.2f} ({least:.2f} to {most:.2f})"
        )


if __name__ == "__main__":
    main()
