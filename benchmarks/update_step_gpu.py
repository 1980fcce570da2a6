"""The update of the true Qwen2.5-VL-3B architecture, stock TRL against packs, on one GPU.

Random weights in bfloat16; an image of about 1,000 tokens, 8 responses of 512 tokens. Prints
seconds, peak memory, and the share of the chip's dense matrix rate that each update reaches,
counting the work of rows for both: what packs leave out is their gain.

    python benchmarks/update_step_gpu.py --rate 989    # dense bfloat16 TFLOP/s of the chip
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from qwen import processor_of, qwen, qwen_3b
from update_step import Work, alternate, ratios, side_of

LARGE = Work("Qwen2.5-VL-3B, P = 1,010, R = 512", 896, 512)
SMALL = Work("tiny, P = 14, R = 8", 28, 8)


def flop(model: torch.nn.Module, work: Work, prompt: int) -> float:
    """FLOP of forward and backward, row by row: 6 a weight and token, attention included."""
    text = model.config.get_text_config()
    tokens = prompt + work.response
    layers = sum(p.numel() for n, p in model.named_parameters() if "language_model.layers" in n)
    attention = 12 * text.num_hidden_layers * text.hidden_size * tokens
    tower = sum(p.numel() for n, p in model.named_parameters() if "visual" in n)
    patches = (work.side // 14) ** 2
    head = 6 * text.vocab_size * text.hidden_size * work.response
    return work.group * (6 * layers * tokens + attention * tokens + 6 * tower * patches + head)


def compare(work: Work, build: Callable, merge: int, rate: float) -> None:
    """Print a line a side, and the ratio."""
    model = build()
    sides = {
        name: side_of(name, work, model=model, processor=processor_of(work.side, merge))
        for name in ("TRL", "packed")
    }
    seconds = alternate(sides)
    prompt = len(sides["packed"][0]._encoding(0).ids)
    total = flop(model, work, prompt) / 1e12
    for name, (trainer, clock) in sides.items():
        memory = float("nan")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            trainer.train()
            memory = torch.cuda.max_memory_allocated() / 2**30
        median = statistics.median(seconds[name])
        share = total / median / rate
        print(f"{name:8} {median:8.3f} s {memory:7.1f} GiB {share:7.1%} of the matrix rate")
        clock.seconds.clear()
    median, least, most = ratios(seconds["TRL"], seconds["packed"])
    print(f"{work.name}: P = {prompt}, {median:.2f} times faster ({least:.2f} to {most:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=989.0, help="TFLOP/s of the chip")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the script")
    options = parser.parse_args()
    if options.tiny:
        compare(SMALL, lambda: qwen(300), 1, options.rate)
    elif not torch.cuda.is_available():
        sys.exit("no GPU here; --tiny tries the script without one")
    else:
        print(torch.cuda.get_device_name())
        compare(LARGE, qwen_3b, 2, options.rate)


if __name__ == "__main__":
    main()
